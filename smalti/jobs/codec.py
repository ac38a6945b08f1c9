"""Turns jobs, requests and results into the bytes that Redis keeps, and back."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from hashlib import sha256
from typing import Any, TypeAlias

from smalti.jobs.job import (
    Claim,
    CommitReply,
    Failed,
    Finished,
    Job,
    JobClass,
    JobRequest,
    JobState,
    Notes,
    Origin,
    Progress,
    Released,
    SampleResult,
    Verdict,
)
from smalti.jobs.kept import Unpackable, unpacked

_KEPT_LOST = Failed("Its kept pixels in Redis are damaged: submit the job again.")
STATE_FIELDS = (
    *("state", "done", "failed", "created", "started", "ended", "deadline", "expires", "reason"),
    *("rpc_id", "traceparent"),
)
_KINDS: Mapping[Any, Any] = {float: (int, float), JobClass: str, Notes: dict}  # of fields, in JSON
Argument: TypeAlias = str | bytes | int


class Undecodable(ValueError):
    """These bytes are not what smalti wrote."""


def encode_request(request: JobRequest) -> bytes:
    """A request without its kept pixels; the same request gives the same bytes."""
    values = asdict(request)
    del values["kept"]
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def decode_request(encoded: bytes | None, kept: bytes | None) -> JobRequest:
    """The request that `encode_request` encoded, with its kept pixels; raises Undecodable."""
    if kept is None:
        raise Undecodable("there are no kept pixels")
    return replace(decode_unkept(encoded, len(kept)), kept=kept)


def decode_unkept(encoded: bytes | None, kept_bytes: int) -> JobRequest:
    """The request without its kept pixels, of which only the length is known; raises Undecodable."""
    try:
        values = json.loads(encoded or b"")
        _check_types(values)
        values["job_class"] = JobClass(values["job_class"])
        values["notes"] = _notes(**values["notes"])
        request = JobRequest(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise Undecodable(str(error)) from error
    if kept_bytes not in (0, 4 * request.rows * request.columns):
        raise Undecodable("the kept pixels are not those of an image")
    return request


def _notes(*, name: str, labels: Sequence[Sequence[str]], webhook: str) -> Notes:
    words = [name, webhook, *(word for pair in labels for word in pair)]
    if any(not isinstance(word, str) for word in words) or any(len(pair) != 2 for pair in labels):
        raise TypeError("notes are texts")
    return Notes(name=name, labels=tuple((key, value) for key, value in labels), webhook=webhook)


def _check_types(values: Mapping[str, object]) -> None:
    """Raise TypeError or KeyError if a value of a request is missing or has another type."""
    for field in fields(JobRequest):
        kind = _KINDS.get(field.type, field.type)
        if field.name != "kept" and not isinstance(values[field.name], kind):
            raise TypeError(f"{field.name} has another type")


def decode_client(name: bytes | None) -> str:
    """The name of a job's owner; raises Undecodable."""
    if name is None:
        raise Undecodable("there is no client")
    return name.decode()


def decode_origin(rpc_id: bytes | None, traceparent: bytes | None) -> Origin:
    """The RPC that submitted a job. What is damaged is as good as nothing."""
    return Origin(rpc_id=_ascii(rpc_id), traceparent=_ascii(traceparent))


def hash_request(request: JobRequest) -> str:
    """Equal requests have equal hashes. The queue compares them when a request_id comes again."""
    return sha256(encode_request(request) + b"\n" + request.kept).hexdigest()


def decode_job(
    job_id: str,
    request: JobRequest,
    state: Sequence[bytes | None],
    *,
    client: str,
    running: int,
) -> Job:
    """A job from its request, the values of its STATE_FIELDS, and its running samples; raises Undecodable."""
    values = dict(zip(STATE_FIELDS, state, strict=True))
    try:
        return Job(
            id=job_id,
            request=request,
            client=client,
            state=JobState(_text(values["state"])),
            done=int(values["done"] or b""),
            failed=int(values["failed"] or b""),
            running=running,
            created=int(values["created"] or b"") / 1000,
            started=_seconds(values["started"]),
            ended=_seconds(values["ended"]),
            deadline=_seconds(values["deadline"]),
            expires=_seconds(values["expires"]),
            reason=_text(values["reason"]),
            origin=decode_origin(values["rpc_id"], values["traceparent"]),
        )
    except ValueError as error:
        raise Undecodable(str(error)) from error


def decode_claims(reply: Sequence[Sequence[Sequence[bytes]]]) -> tuple[list[Claim], list[Progress]]:
    """The claims in claim.lua's reply, and what ends those that cannot be drawn.

    The samples of a job share its request. If that cannot be read, its samples are given back. A sample whose own kept
    pixels cannot be read fails.
    """
    jobs, samples = reply
    requests = {job[0]: _claimed_request(*job) for job in jobs}
    claims, unreadable = [], []
    for job, index, token, pixels, suspect, kept in samples:
        claimed = requests[job]
        sample: dict[str, Any] = {"job": _text(job), "index": int(index), "token": _text(token)}
        if claimed is None:
            unreadable.append(Progress(**sample, first_row=0, outcome=Released()))
            continue
        request, queued_seconds, origin = claimed
        try:
            request = _with_own_kept(request, kept)
        except Unpackable:
            unreadable.append(Progress(**sample, first_row=0, outcome=_KEPT_LOST))
            continue
        claims.append(
            Claim(
                **sample,
                request=request,
                pixels=pixels,
                queued_seconds=queued_seconds,
                origin=origin,
                is_suspect=suspect == b"1",
            )
        )
    return claims, unreadable


def _with_own_kept(request: JobRequest, kept: bytes) -> JobRequest:
    """The request with the kept pixels of one sample, if each has its own; raises Unpackable."""
    if not request.kept_hash:
        return request
    pixels = request.rows * request.columns
    return replace(request, kept=unpacked(kept, pixels=pixels, colours=request.colours))


def _claimed_request(
    _: bytes, encoded: bytes | None, kept: bytes | None, queued_ms: bytes, rpc_id: bytes, traceparent: bytes
) -> tuple[JobRequest, float, Origin] | None:
    """A request, how long it was queued, in seconds, and its origin; None if it cannot be read."""
    try:
        return decode_request(encoded, kept), int(queued_ms) / 1000, decode_origin(rpc_id, traceparent)
    except Undecodable:
        return None


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
    """A result as shared.lua's end_sample writes it; raises Undecodable."""
    succeeded = value.startswith(b"+")
    try:
        _, log_probability, fingerprint, payload = value[1:].split(b"\n", 3)
        return SampleResult(
            index=index,
            pixels=payload if succeeded else b"",
            log_probability=float(log_probability),
            error="" if succeeded else payload.decode(),
            fingerprint=fingerprint.decode(),
        )
    except ValueError as error:
        raise Undecodable(str(error)) from error


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


def _ascii(value: bytes | None) -> str:
    return (value or b"").decode("ascii", errors="ignore")


def _seconds(milliseconds: bytes | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds and milliseconds != b"0" else None
