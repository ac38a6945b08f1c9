"""Takes the pictures of a job that completes many, as they come in a stream, and keeps only their kept pixels."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from server.messages.images import ImageModel
from server.oneshot.catalogue import ServedModel
from server.oneshot.pictures import Pictures
from server.queued.requests import kept_mask
from smalti.errors import DeadlinePassed, InvalidRequest, PicturesFull
from smalti.jobs.job import JobRequest
from smalti.jobs.kept import most_bytes, packed
from smalti.printable import printable
from smalti.v1 import images_pb2, jobs_pb2, types_pb2

_SILENCE_SECONDS = 60.0  # longest wait for the next message
_AT_ONCE, _AT_ONCE_PER_CLIENT = 64, 16  # uploads in a process; of a client with a name
_OBJECT_BYTES = 40  # of a value of Python, beside its content
_RETRY_SECONDS = 1.0
_LONGEST_NAME = 200  # characters of a picture's name in an error
Requests = AsyncIterator[jobs_pb2.SubmitCompletionsRequest]


@dataclass(slots=True)
class Uploaded:
    """The kept pixels of the pictures that have come, packed, and how far their colours had to move."""

    kept: list[bytes] = field(default_factory=list)
    colour_change: types_pb2.ColourChange = field(default_factory=types_pb2.ColourChange)

    def add(self, kept: bytes, change: types_pb2.ColourChange) -> None:
        """Keep those of the next picture."""
        self.kept.append(kept)
        self.colour_change.moved_pixels += change.moved_pixels
        largest = max(self.colour_change.largest_distance, change.largest_distance)
        self.colour_change.largest_distance = largest


class Uploads:
    """The uploads of a process: only so many at once, and only so many bytes in memory."""

    def __init__(self, pictures: Pictures, *, most_bytes: int, most_images: int) -> None:
        self._pictures = pictures
        self._most_bytes = most_bytes  # of all uploads
        self._most_images = most_images  # in a message
        self._running: Counter[str] = Counter()  # by client
        self._taken = 0  # bytes

    @property
    def taken(self) -> int:
        """The bytes that uploads under way may take."""
        return self._taken

    @contextmanager
    def room(self, request: JobRequest, client: str) -> Iterator[None]:
        """Keep a place, and memory for all pictures of the job, until the block ends.

        An upload takes at most half of what is free, so that a large one does not keep out small ones. Raises
        PicturesFull, and InvalidRequest if the job never fits.
        """
        size = request.count * (most_bytes(request.rows * request.columns, request.colours) + _OBJECT_BYTES)
        self._refuse(size, request.count, client)
        self._running[client] += 1
        self._taken += size
        try:
            yield
        finally:
            self._taken -= size
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]

    async def receive(
        self, model: ServedModel, request: JobRequest, messages: Requests, *, deadline: float | None
    ) -> Uploaded:
        """The pictures of all messages; raises InvalidRequest for the first that cannot be used, and DeadlinePassed."""
        uploaded = Uploaded()
        async for message in unsilent(messages):
            self._refuse_message(message)
            pictures = message.completions.completions
            for completion, name in zip(pictures, message.completions.names or repeat(""), strict=False):
                if len(uploaded.kept) == request.count:
                    raise _wrong_count(f"more than {request.count}", request.count)
                with _naming(len(uploaded.kept) + 1, request.count, name):
                    uploaded.add(*await self._read(model, completion, deadline))
        if len(uploaded.kept) < request.count:
            raise _wrong_count(str(len(uploaded.kept)), request.count)
        return uploaded

    def _refuse(self, size: int, count: int, client: str) -> None:
        if size > self._most_bytes // 2:
            raise InvalidRequest(
                f"An upload has at most {count * (self._most_bytes // 2) // size} pictures of this size, not {count}: "
                "make several jobs, or raise the server's SMALTI_MAX_UPLOAD_BYTES.",
                field="job.count",
            )
        is_full = self._running.total() >= _AT_ONCE or size > (self._most_bytes - self._taken + 1) // 2
        if is_full or (client and self._running[client] >= _AT_ONCE_PER_CLIENT):
            raise PicturesFull(
                "The server takes as many uploads as it can: try again later.", retry_seconds=_RETRY_SECONDS
            )

    def _refuse_message(self, message: jobs_pb2.SubmitCompletionsRequest) -> None:
        if message.WhichOneof("content") != "completions":
            raise InvalidRequest("After the first message come only pictures (completions).", field="content")
        pictures, names = len(message.completions.completions), len(message.completions.names)
        if pictures > self._most_images:
            raise InvalidRequest(
                f"A message has at most {self._most_images} pictures, not {pictures}: send several.",
                field="completions.completions",
            )
        if names not in (0, pictures):
            raise InvalidRequest(
                f"A message with {pictures} pictures has as many names or none, not {names}.",
                field="completions.names",
            )

    async def _read(
        self, model: ServedModel, completion: images_pb2.Completion, deadline: float | None
    ) -> tuple[bytes, types_pb2.ColourChange]:
        """What is kept of one picture, packed. It waits for its turn while others are read."""
        keep = kept_mask(model, completion)
        while True:
            try:
                with self._pictures.admit(
                    model, given=[completion.image], fields=("completion.image",), deadline=deadline
                ) as work:
                    given = await work.read()
                break
            except PicturesFull as error:
                await asyncio.sleep(error.retry_seconds)
        kept = np.where(keep, given.pixels[0], -1).astype("<i4")
        return packed(kept.tobytes(), _colours(model)), given.colour_change


async def unsilent(messages: Requests) -> Requests:
    """The messages; raises DeadlinePassed if the next one does not come for long."""
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await anext(messages)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise DeadlinePassed(
                f"No picture came for {_SILENCE_SECONDS:g} s, so nothing was queued: send all again."
            ) from None
        yield message


@contextmanager
def _naming(number: int, count: int, name: str) -> Iterator[None]:
    """Say which picture an error is about."""
    try:
        yield
    except InvalidRequest as error:
        named = f" ({printable(name, longest=_LONGEST_NAME)})" if name else ""
        raise type(error)(
            f"Picture {number} of {count}{named}: {error} Nothing was queued.", field=error.field
        ) from error


def _wrong_count(came: str, count: int) -> InvalidRequest:
    return InvalidRequest(
        f"The job has a count of {count}, and {came} pictures came: nothing was queued.", field="job.count"
    )


def _colours(model: ImageModel) -> int:
    return len(model.manifest.palette)
