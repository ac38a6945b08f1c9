"""The calls of JobService, made of plain values; their responses become plain values again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from smalti.client.calls.call import Call, ImageCall, Palette, UploadCall, from_values
from smalti.client.calls.fields import check_whole, model_version, real, shown, text
from smalti.client.calls.images import PIXELS, completion_message, read_colour_change, read_image, version_of
from smalti.client.values import (
    NO_CHANGE,
    ColourChange,
    Completion,
    Job,
    JobEvent,
    JobOrId,
    SampleEnded,
    SampleResult,
    SampleRows,
)
from smalti.errors import InvalidRequest
from smalti.jobs.job import JobClass, JobState
from smalti.v1 import images_pb2, jobs_pb2, jobs_pb2_grpc

SERVICE: Any = jobs_pb2_grpc.JobServiceStub  # Any: grpc generates stubs without types
_PICTURES_AT_ONCE = 64  # in a message of an upload; servers take 256
_BYTES_AT_ONCE = 1 << 20
_CLASSES: Mapping[int, JobClass] = {
    jobs_pb2.JobClass.Value(f"JOB_CLASS_{job_class.name}"): job_class for job_class in JobClass
}
_LONGEST_SECONDS = 1e11  # a Duration holds a little more; a server allows far less


@from_values
def submit(
    model: str,
    *,
    count: int,
    seed: int | None,
    first_index: int,
    temperature: float,
    completion: Completion | None,
    retention_seconds: float | None,
    deadline_seconds: float | None,
    name: str,
    labels: Mapping[str, str],
    webhook: str,
    request_id: str | None,
    job_class: JobClass | str,
    version: int,
) -> Call[Job]:
    check_whole("count", count, least=1)
    check_whole("seed", seed)
    check_whole("first_index", first_index)
    request = jobs_pb2.SubmitRequest(
        request_id=text("request_id", request_id or uuid4().hex),
        model=model_version(model, version),
        count=count,
        seed=seed,
        first_index=first_index,
        temperature=real("temperature", temperature),
        completion=None if completion is None else completion_message(completion),
        retention=_duration("retention_seconds", retention_seconds),
        deadline=_duration("deadline_seconds", deadline_seconds),
        webhook=text("webhook", webhook),
        name=text("name", name),
        labels=_labels(labels),
        job_class=f"JOB_CLASS_{_job_class_of(job_class).name}",
    )
    return Call(SERVICE, "Submit", request, _submitted)


@from_values
def submit_completions(
    model: str, completions: Iterable[Completion], picture_names: Iterable[str], **job: Any
) -> UploadCall[Job]:
    """`job` are the other arguments of `submit`."""
    given, known = list(completions), [text("picture_names", name) for name in picture_names]
    if known and len(known) != len(given):
        raise InvalidRequest(
            f"There are {len(given)} pictures and {len(known)} names.", field="picture_names"
        )
    header = submit(model, count=len(given), completion=None, **job).request
    messages = [_named_message(given, known, number) for number in range(len(given))]
    requests = [jobs_pb2.SubmitCompletionsRequest(job=header), *_portions(messages, known)]
    return UploadCall(SERVICE, "SubmitCompletions", requests, _submitted)


@from_values
def get_job(job: JobOrId) -> Call[Job]:
    return Call(SERVICE, "Get", jobs_pb2.GetJobRequest(id=id_of(job)), read_job)


@from_values
def jobs_page(
    page_token: str,
    page_size: int,
    *,
    client: str | None,
    states: Iterable[JobState | str],
    model: str,
    name: str,
    labels: Mapping[str, str],
) -> Call[tuple[list[Job], str]]:
    check_whole("page_size", page_size, bits=32)
    request = jobs_pb2.ListJobsRequest(
        page_size=page_size,
        page_token=page_token,
        client=None if client is None else text("client", client),
        states=[f"JOB_STATE_{_state(state).name}" for state in states],
        model=text("model", model),
        name=text("name", name),
        labels=_labels(labels),
    )
    return Call(
        SERVICE, "List", request, lambda reply: (list(map(read_job, reply.jobs)), reply.next_page_token)
    )


@from_values
def watch(job: JobOrId, *, rows: bool) -> Call[JobEvent]:
    return Call(SERVICE, "Watch", jobs_pb2.WatchRequest(id=id_of(job), rows=rows), read_job_event)


@from_values
def results(job: JobOrId, *, start: int, limit: int) -> ImageCall[SampleResult]:
    check_whole("start", start)
    check_whole("limit", limit)
    request = jobs_pb2.ResultsRequest(id=id_of(job), start=start, limit=limit, format=PIXELS)
    return ImageCall(SERVICE, "Results", request, _result)


@from_values
def cancel(job: JobOrId) -> Call[Job]:
    return Call(SERVICE, "Cancel", jobs_pb2.CancelJobRequest(id=id_of(job)), read_job)


@from_values
def pause(job: JobOrId) -> Call[Job]:
    return Call(SERVICE, "Pause", jobs_pb2.PauseJobRequest(id=id_of(job)), read_job)


@from_values
def resume(job: JobOrId) -> Call[Job]:
    return Call(SERVICE, "Resume", jobs_pb2.ResumeJobRequest(id=id_of(job)), read_job)


@from_values
def webhook_key() -> Call[str]:
    return Call(SERVICE, "GetWebhookKey", jobs_pb2.GetWebhookKeyRequest(), lambda reply: str(reply.key))


@from_values
def delete(job: JobOrId) -> Call[None]:
    return Call(SERVICE, "Delete", jobs_pb2.DeleteJobRequest(id=id_of(job)), lambda reply: None)


# Values → messages
def _named_message(
    completions: Sequence[Completion], names: Sequence[str], number: int
) -> images_pb2.Completion:
    """The message of one of many completions; an error says which one it is about."""
    try:
        return completion_message(completions[number])
    except InvalidRequest as error:
        named = f" ({names[number]})" if names else ""
        said = f"Picture {number + 1} of {len(completions)}{named}: {error}"
        raise type(error)(said, field=error.field) from error


def _portions(
    messages: Sequence[images_pb2.Completion], names: Sequence[str]
) -> Iterator[jobs_pb2.SubmitCompletionsRequest]:
    """The completions in messages that every server takes."""
    start, size = 0, 0
    for number, message in enumerate(messages):
        if number > start and (number - start == _PICTURES_AT_ONCE or size > _BYTES_AT_ONCE):
            yield _portion(messages[start:number], names[start:number])
            start, size = number, 0
        size += message.ByteSize()
    yield _portion(messages[start:], names[start:])


def _portion(
    messages: Sequence[images_pb2.Completion], names: Sequence[str]
) -> jobs_pb2.SubmitCompletionsRequest:
    return jobs_pb2.SubmitCompletionsRequest(
        completions=jobs_pb2.Completions(completions=messages, names=names)
    )


def _job_class_of(job_class: JobClass | str) -> JobClass:
    try:
        return JobClass(job_class)
    except ValueError as error:
        raise InvalidRequest(
            f"job_class is {shown(job_class)}; it must be {', '.join(JobClass)}.", field="job_class"
        ) from error


def _state(state: JobState | str) -> JobState:
    try:
        return JobState(state)
    except ValueError as error:
        raise InvalidRequest(
            f"states has {shown(state)}; a state is {', '.join(JobState)}.", field="states"
        ) from error


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(labels, Mapping):
        raise InvalidRequest(f"labels is {shown(labels)}; it must be a dict of strings.", field="labels")
    return {text("labels", key): text("labels", value) for key, value in labels.items()}


def _duration(field: str, seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    if not (seconds := real(field, seconds)) >= 0:
        raise InvalidRequest(f"{field} is {seconds:g}; it must be a number from 0.", field=field)
    duration = Duration()
    duration.FromMilliseconds(round(min(seconds, _LONGEST_SECONDS) * 1000))  # the server knows its limit
    return duration


def id_of(job: JobOrId) -> str:
    return text("job", job.id if isinstance(job, Job) else job)


# Messages → values
def _submitted(reply: jobs_pb2.SubmitResponse) -> Job:
    return read_job(reply.job, read_colour_change(reply.colour_change))


def read_job(message: jobs_pb2.Job, colour_change: ColourChange = NO_CHANGE) -> Job:
    """A job as the server describes it."""
    return Job(
        id=message.id,
        model=version_of(message.model),
        state=JobState(jobs_pb2.JobState.Name(message.state).removeprefix("JOB_STATE_")),
        count=message.count,
        seed=message.seed,
        first_index=message.first_index,
        temperature=message.temperature,
        height=message.height,
        width=message.width,
        done=message.done,
        failed=message.failed,
        running=message.running,
        created=_time(message, "created"),
        started=_time(message, "started"),
        ended=_time(message, "ended"),
        deadline=_time(message, "deadline"),
        expires=_time(message, "expires"),
        reason=message.reason,
        job_class=_job_class(message),
        client=message.client,
        name=message.name,
        labels=dict(message.labels),
        webhook=message.webhook,
        rpc_id=message.rpc_id,
        colour_change=colour_change,
    )


def _job_class(message: jobs_pb2.Job) -> JobClass:
    return _CLASSES.get(message.job_class, JobClass.STANDARD)


def _time(message: jobs_pb2.Job, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    timestamp: Timestamp = getattr(message, field)
    return timestamp.ToDatetime(UTC)


def read_job_event(reply: jobs_pb2.WatchResponse) -> JobEvent:
    """The event in one message of Watch."""
    if reply.HasField("job"):
        return read_job(reply.job)
    if reply.HasField("rows"):
        rows = reply.rows
        return SampleRows(index=rows.index, first_row=rows.first_row, indices=rows.indices)
    return SampleEnded(index=reply.ended.index, succeeded=reply.ended.succeeded)


def _result(reply: jobs_pb2.SampleResult, palette: Palette) -> SampleResult:
    return SampleResult(
        index=reply.index,
        image=read_image(reply.image, palette) if reply.HasField("image") else None,
        log_probability=reply.log_probability,
        error=reply.error,
        fingerprint=reply.fingerprint,
    )
