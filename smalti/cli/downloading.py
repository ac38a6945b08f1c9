"""Downloads the results of a job. What has come is kept on disk, so that a download that broke off can go on."""

import json
import os
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from smalti.cli.output import say
from smalti.cli.places import Place
from smalti.client import Client, Image, Job, SampleResult
from smalti.errors import SmaltiError
from smalti.pictures.files import is_special, unwritable

_NEAR = (
    64  # indices: fewer that are there already are asked for once more, with the missing ones on both sides
)


class Receiver(Protocol):
    """Keeps the results of a job as they come."""

    errors: dict[int, str]  # index → why the sample failed

    @property
    def arrived(self) -> Collection[int]:
        """The indices of the results that it has."""
        ...

    def take(self, result: SampleResult) -> None:
        """Keep one more; it may have come before."""
        ...


def download(client: Client, job: Job, wanted: range, receiver: Receiver, *, patience_seconds: float) -> None:
    """Ask for the results that the receiver lacks."""
    for gap in gaps(wanted, receiver.arrived):
        for result in client.results(job, start=gap.start, limit=len(gap), patience_seconds=patience_seconds):
            receiver.take(result)


def gaps(wanted: range, arrived: Collection[int]) -> list[range]:
    """The parts of `wanted` that have not arrived; parts that are near each other are one."""
    found: list[range] = []
    for index in wanted:
        if index in arrived:
            continue
        if found and index - found[-1].stop <= _NEAR:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


class Part:
    """The results that have come, in a file: a line of JSON for each, and one for the palette.

    Lines after one that cannot be read, because a process ended while it wrote, are forgotten.
    """

    def __init__(self, file: BinaryIO, job: Job) -> None:
        self._file = file
        self._job = job
        self.errors: dict[int, str] = {}
        self._places: dict[int, int] = {}  # index → where its line begins
        self._palette: tuple[str, ...] = ()
        self._remember()

    @property
    def arrived(self) -> Collection[int]:
        """The indices of the results that it has."""
        return self._places.keys()

    def take(self, result: SampleResult) -> None:
        """Keep a result, unless it came before."""
        if result.index in self._places:
            return
        if result.image is not None and not self._palette:
            self._palette = result.image.palette
            self._append({"palette": self._palette})
        pixels = None if result.image is None else b64encode(result.image.indices).decode()
        place = self._append(
            {
                "index": result.index,
                "pixels": pixels,
                "log_probability": result.log_probability,
                "error": result.error,
                "fingerprint": result.fingerprint,
            }
        )
        self._keep(result.index, place, result.error)

    def results(self, wanted: range) -> Iterator[SampleResult]:
        """Those of these indices that have come, in order."""
        for index in sorted(index for index in self._places if index in wanted):
            self._file.seek(self._places[index])
            yield self._result(json.loads(self._file.readline()))

    def _append(self, values: dict[str, Any]) -> int:
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(values).encode() + b"\n")
        return place

    def _remember(self) -> None:
        self._file.seek(0)
        place = 0
        for line in self._file:
            try:
                self._note(json.loads(line), place)
            except (ValueError, TypeError, KeyError):
                break
            place += len(line)
        self._file.truncate(place)

    def _note(self, values: Any, place: int) -> None:
        if "palette" in values:
            self._palette = tuple(values["palette"])
        else:
            self._keep(int(values["index"]), place, str(values["error"]))

    def _keep(self, index: int, place: int, error: str) -> None:
        self._places[index] = place
        if error:
            self.errors[index] = error

    def _result(self, values: Any) -> SampleResult:
        pixels = values.pop("pixels")
        image = None if pixels is None else self._image(b64decode(pixels))
        return SampleResult(image=image, **values)

    def _image(self, indices: bytes) -> Image:
        job = self._job
        return Image(height=job.height, width=job.width, indices=indices, palette=self._palette)


@contextmanager
def part_for(output: Place, job: Job) -> Iterator[Part]:
    """The part beside a file that is to be written, or a temporary one where nothing can be beside it.

    It stays if the block fails before the file is written, and is removed after that.
    """
    path = _beside(output, job)
    if path is None:
        with tempfile.TemporaryFile() as file:
            yield Part(file, job)
        return
    with _opened(path, output) as file:
        part = Part(file, job)
        with _kept_if_broken(path, part):
            yield part


def _beside(output: Place, job: Job) -> Path | None:
    if output.path is None or is_special(output.path):
        return None
    return output.path.with_name(f".smalti-{job.id}-{output.path.name}.part")


@contextmanager
def _opened(path: Path, output: Place) -> Iterator[BinaryIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            yield file
    except OSError as error:  # the disk is full: what has come helps nobody
        with suppress(OSError):
            path.unlink()
        raise unwritable(output.path or path, error) from error


@contextmanager
def _kept_if_broken(path: Path, part: Part) -> Iterator[None]:
    try:
        yield
    except (SmaltiError, KeyboardInterrupt):
        if part.arrived:
            say(f"{len(part.arrived)} results have come and are kept: the same command goes on from there.")
        else:
            path.unlink()
        raise
    path.unlink()
