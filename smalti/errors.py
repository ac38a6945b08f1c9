"""Every error that smalti raises on purpose. The message is one sentence that its reader can act on.

Subclasses say whose fault it is. `server/errors.py` maps them to gRPC statuses, `smalti/client/failures.py` maps them
back; both name a class by its reason in DOMAIN.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

DOMAIN = "smalti"  # of the reasons, in google.rpc.ErrorInfo
_OBJECT = re.compile(r" ?'?<[^<>]* at 0x[0-9a-fA-F]+>'?")


class SmaltiError(Exception):
    """Something that smalti refuses or cannot do, said in one sentence.

    Some libraries put addresses of Python objects into their messages; these are removed, as they help nobody.
    `request_id` is empty, or the server's id of the RPC that failed: the server's log has it beside what happened.
    """

    request_id = ""

    def __init__(self, message: str) -> None:
        super().__init__(_OBJECT.sub("", message))


# The caller's request cannot be served as it is.
class InvalidRequest(SmaltiError):
    """A value of the request is out of range; `field` names it."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ImageRefused(InvalidRequest):
    """The image cannot be read, or does not have the size that the model draws."""


class Unsupported(SmaltiError):
    """The server does not do this at all, for any values of the request."""


class RequestConflict(SmaltiError):
    """This request_id, or this name of a shared memory region, was used before for something else."""


class ModelNotFound(SmaltiError):
    """The model repository has no such model or version."""


class JobNotFound(SmaltiError):
    """There is no such job, or its retention has passed."""


class WorkerNotFound(SmaltiError):
    """No worker of that name has a lease."""


class RegionNotFound(SmaltiError):
    """No region of shared memory is registered under this name."""


class GraphNotServed(SmaltiError):
    """The model has no graph for this request."""


class JobDamaged(SmaltiError):
    """The record of the job in Redis is damaged; other jobs are not concerned."""


class NoImages(GraphNotServed):
    """The model is an ONNX file without images: it takes and gives tensors."""


class JobNotFinished(SmaltiError):
    """The job is still running, so this cannot be done to it yet."""


class JobOver(SmaltiError):
    """The job has ended, or is being cancelled, so this cannot be done to it any more."""


class TokenRefused(SmaltiError):
    """The request has no token, or one that the server does not know."""


class NotPermitted(SmaltiError):
    """The client's token is valid, but not for this."""


class WebhookForged(SmaltiError):
    """A webhook was not signed with the key, or is too old."""


# The request is fine, but cannot be served now.
class Busy(SmaltiError):
    """A bounded queue is full; try again after `retry_seconds`."""

    def __init__(self, message: str, *, retry_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class QueueFull(Busy):
    """The job queue is full."""


class WatchersFull(Busy):
    """This many watchers are the most that the server, the job or the client may have."""


class LimitReached(Busy):
    """The client has as many jobs, pixels or bytes of results as it may have."""


class BatcherFull(Busy):
    """Too many one-shot requests are waiting for this model."""


class ServerFull(Busy):
    """A service has as many calls at once as it may have."""


class PicturesFull(Busy):
    """Too many pictures are being read or written."""


class Unavailable(SmaltiError):
    """The server or Redis cannot be reached; try again after `retry_seconds`."""

    def __init__(self, message: str, *, retry_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class WaitedTooLong(Unavailable):
    """The request's own timeout, or its graph's, passed while it waited for a run."""


class DeadlinePassed(SmaltiError):
    """The request's deadline passed before it was answered."""


# The installation is wrong; a person must repair it.
class RepositoryDamaged(SmaltiError):
    """A model's files are not what its manifest says."""


class ProviderMissing(SmaltiError):
    """This machine does not have the execution provider that was chosen."""


class RedisUnfit(SmaltiError):
    """This Redis could lose acknowledged jobs, or is too old."""


class SettingsInvalid(SmaltiError):
    """A SMALTI_* variable has a value that cannot be used."""


class GraphFailed(SmaltiError):
    """A served graph failed on valid inputs; the server's log has the cause."""


# smalti itself is wrong.
class InternalError(SmaltiError):
    """A bug in smalti; the server's log has the cause under the number in the message."""


# Inside the worker.
class SampleFailed(SmaltiError):
    """One sample cannot be drawn; the others go on."""


def reason_of(kind: type[SmaltiError]) -> str:
    """The UPPER_SNAKE word that names an error's class on the wire: JobNotFound is JOB_NOT_FOUND."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """For an error message, in brackets: known names that contain this one, or the most similar one, or nothing."""
    names = list(known)
    parts = [each for each in names if name and name.lower() in each]
    meant = parts[:3] or get_close_matches(name.lower(), names, 1)
    return f" (did you mean {' or '.join(meant)}?)" if meant else ""
