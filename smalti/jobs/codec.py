"""Turns jobs, requests and results into the bytes that Redis keeps, and back."""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import TypeAlias

from smalti.jobs.job import (
    Claim,
    CommitReply,
    Failed,
    Finished,
    Job,
    JobClass,
    JobRequest,
    JobState,
    Progress,
    SampleResult,
    Verdict,
)

STATE_FIELDS = ("state", "done", "failed", "created", "started", "ended", "expires", "reason")
Argument: TypeAlias = str | bytes | int


def encode_request(request: JobRequest) -> bytes:
    """A request without its kept pixels; the same request gives the same bytes."""
    fields = asdict(request)
    del fields["kept"]
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def decode_request(encoded: bytes, kept: bytes) -> JobRequest:
    """The request that `encode_request` encoded."""
    fields = json.loads(encoded)
    fields["job_class"] = JobClass(fields["job_class"])
    return JobRequest(**fields, kept=kept)


def hash_request(request: JobRequest) -> str:
    """Equal requests have equal hashes. The queue compares them when a request_id comes again."""
    return sha256(encode_request(request) + b"\n" + request.kept).hexdigest()


def decode_job(job_id: str, request: JobRequest, state: Sequence[bytes | None], *, running: int) -> Job:
    """A job from its request, the values of its STATE_FIELDS, and its number of running samples."""
    fields = dict(zip(STATE_FIELDS, state, strict=True))
    created = _seconds(fields["created"])
    assert created is not None
    return Job(
        id=job_id,
        request=request,
        state=JobState(_text(fields["state"])),
        done=int(fields["done"] or 0),
        failed=int(fields["failed"] or 0),
        running=running,
        created=created,
        started=_seconds(fields["started"]),
        ended=_seconds(fields["ended"]),
        expires=_seconds(fields["expires"]),
        reason=_text(fields["reason"]),
    )


def decode_claims(reply: Sequence[Sequence[Sequence[bytes]]]) -> list[Claim]:
    """The claims in claim.lua's reply; the samples of a job share its request."""
    jobs, samples = reply
    requests = {job[0]: (decode_request(job[1], job[2]), int(job[3]) / 1000) for job in jobs}
    return [
        Claim(
            job=_text(job),
            index=int(index),
            token=_text(token),
            request=requests[job][0],
            pixels=pixels,
            queued_seconds=requests[job][1],
            is_suspect=suspect == b"1",
        )
        for job, index, token, pixels, suspect in samples
    ]


def encode_progress(progress: Sequence[Progress]) -> list[Argument]:
    """commit.lua's arguments for samples: everything about them, packed into one, then their names."""
    return [b"".join(map(_packed, progress)), *(f"{part.job}:{part.index}" for part in progress)]


def _packed(part: Progress) -> bytes:
    job, token, outcome = part.job.encode(), part.token.encode(), _outcome(part).encode()
    form = f">B{len(job)}sB{len(token)}sIII{len(part.pixels)}sH{len(outcome)}s"
    values = len(job), job, len(token), token, _place(part), part.first_row, len(part.pixels), part.pixels
    return struct.pack(form, *values, len(outcome), outcome)


def _place(part: Progress) -> int:
    return 0 if part.place is None else 2 * part.place.rows + 1 + part.place.is_begun


def decode_commit(reply: bytes) -> list[CommitReply]:
    """commit.lua's reply: a line for each sample: verdict, rows, and 'ends' if its job ended with it."""
    lines = (line.split() for line in reply.decode().splitlines())
    return [
        CommitReply(verdict=Verdict(verdict), rows=int(rows), ends_job=bool(ends))
        for verdict, rows, *ends in lines
    ]


def decode_result(index: int, value: bytes) -> SampleResult:
    """A result as shared.lua's end_sample writes it."""
    _, log_probability, fingerprint, payload = value[1:].split(b"\n", 3)
    succeeded = value.startswith(b"+")
    return SampleResult(
        index=index,
        pixels=payload if succeeded else b"",
        log_probability=float(log_probability),
        error="" if succeeded else payload.decode(),
        fingerprint=fingerprint.decode(),
    )


def decode_ended(entries: bytes) -> list[tuple[int, bool]]:
    """(index, succeeded) of samples in the order in which they ended; an incomplete last entry is left out."""
    numbers = [int.from_bytes(entries[at : at + 4]) for at in range(0, len(entries) // 4 * 4, 4)]
    return [(number >> 1, bool(number & 1)) for number in numbers]


def _outcome(progress: Progress) -> str:
    match progress.outcome:
        case None:
            return ""
        case Finished(log_probability):
            return f"done {float(log_probability)!r}"
        case Failed(error):
            return f"fail {error[:1000]}"
        case _:
            return "release"


def _text(value: bytes | str | int | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _seconds(milliseconds: bytes | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None
