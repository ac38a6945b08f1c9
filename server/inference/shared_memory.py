"""Regions of shared memory that clients have registered: tensors are read from them and written into them.

A region is a file below /dev/shm, as POSIX shared memory is on Linux. It is read and written as a file, not mapped: if
a client makes the file shorter, a mapped one would kill this process.
"""

import errno
import os
import re
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import structlog

from server.inference.parameters import count_of, text_of
from server.siblings import Siblings
from smalti.errors import InvalidRequest, RegionNotFound, RequestConflict, SmaltiError, Unsupported
from smalti.printable import printable

log = structlog.get_logger()
_FOLDER = Path("/dev/shm")
_KEY = re.compile(r"/?([^/\0]+)")  # as shm_open takes it
_LONGEST_KEY = 255  # bytes, without the slash
_MOST_REGIONS = 1024  # each keeps a file open
_LONGEST_NAME = 255
_MAPPING = "shared_memory_"  # how the names of a tensor's parameters begin


class Place(NamedTuple):
    """Where a tensor lies: so many bytes of a region, from an offset on."""

    region: str
    offset: int
    byte_size: int


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an open file that a client has registered under a name."""

    name: str
    key: str
    offset: int
    byte_size: int
    file: int  # descriptor
    call: str = ""  # the Register that brought it: only this one may take it back

    def __del__(self) -> None:
        os.close(self.file)  # only now: a thread may have read while the region was unregistered

    @property
    def described(self) -> dict[str, Any]:
        """What clients learn of it."""
        return {"name": self.name, "key": self.key, "offset": self.offset, "byte_size": self.byte_size}

    @property
    def snapshot(self) -> dict[str, Any]:
        """What other processes of the server need to open it."""
        return {**self.described, "call": self.call}


class Regions:
    """The regions that this process knows."""

    def __init__(self, *, most_bytes: int) -> None:
        self._regions: dict[str, Region] = {}
        self._most_bytes = most_bytes  # of one tensor

    def register(self, name: str, key: str, offset: int, byte_size: int, call: str = "") -> None:
        """Open and keep a region; raises what `opened` raises."""
        self._regions[name] = self.opened(name, key, offset, byte_size, call)

    def opened(self, name: str, key: str, offset: int, byte_size: int, call: str = "") -> Region:
        """A new region that is not kept yet; raises InvalidRequest, or RequestConflict if the name is taken."""
        if not 1 <= len(name) <= _LONGEST_NAME:
            raise InvalidRequest(f"Name the shared memory region, in 1 to {_LONGEST_NAME} characters.")
        if name in self._regions:
            raise RequestConflict(f"shared memory region '{printable(name)}' already in manager.")
        if len(self._regions) >= _MOST_REGIONS:
            raise InvalidRequest(f"There are {_MOST_REGIONS} shared memory regions, and no more are taken.")
        file = _open(key)
        try:
            _check_size(file, key, offset, byte_size)
        except InvalidRequest:
            os.close(file)
            raise
        return Region(name, key, offset, byte_size, file, call)

    def unregister(self, name: str) -> None:
        """Close a region, or all of them if the name is empty; it need not be there."""
        for gone in [name] if name else list(self._regions):
            self._regions.pop(gone, None)

    def take_back(self, name: str, call: str) -> None:
        """Close the region of this name if this call has registered it."""
        if name in self._regions and self._regions[name].call == call:
            del self._regions[name]

    def registered(self, name: str = "") -> list[Region]:
        """All regions, or the one of this name; raises RegionNotFound."""
        return [self._find(name)] if name else list(self._regions.values())

    def check(self, place: Place) -> None:
        """Raise InvalidRequest if a tensor cannot lie there, RegionNotFound if there is no such region."""
        region = self._find(place.region)
        if place.offset + place.byte_size > region.byte_size:
            raise InvalidRequest(
                f"Invalid offset + byte size for shared memory region: '{printable(place.region)}' has "
                f"{region.byte_size} bytes, not {place.offset} + {place.byte_size}."
            )
        if place.byte_size > self._most_bytes:
            raise InvalidRequest(
                f"a tensor in shared memory has at most {self._most_bytes} bytes, not {place.byte_size}: send less, "
                "or raise SMALTI_MAX_MESSAGE_BYTES of the server."
            )

    def read(self, place: Place) -> bytes:
        """The bytes at a place; raises what `check` raises, and InvalidRequest if the client has cut the file."""
        self.check(place)
        region = self._find(place.region)
        data = os.pread(region.file, place.byte_size, region.offset + place.offset)
        if len(data) != place.byte_size:
            raise _cut(place)
        return data

    def write(self, place: Place, data: bytes | memoryview) -> None:
        """Write bytes from the beginning of a place on; raises what `read` raises, and if they are too many."""
        self.check(place)
        region = self._find(place.region)
        if len(data) > place.byte_size:
            raise InvalidRequest(
                f"shared memory size specified with the request ({place.byte_size} bytes in "
                f"'{printable(place.region)}') should be at least {len(data)} bytes to hold the results."
            )
        start = region.offset + place.offset
        if os.fstat(region.file).st_size < start + len(data):  # writing would make the file longer again
            raise _cut(place)
        try:
            os.pwrite(region.file, data, start)
        except OSError as error:  # the file has holes, and memory is full
            raise InvalidRequest(
                f"cannot write into shared memory region '{printable(place.region)}': {_why(error)}."
            ) from error

    def _find(self, name: str) -> Region:
        if name not in self._regions:
            raise RegionNotFound(f"Unable to find shared memory region: '{printable(name)}'.")
        return self._regions[name]


class SharedRegions:
    """The same regions in all processes of the server, where it may use shared memory at all."""

    def __init__(self, regions: Regions, siblings: Siblings, *, is_allowed: bool) -> None:
        self.regions = regions
        self.is_allowed = is_allowed
        self._siblings = siblings
        siblings.answer("regions.register", _command(regions.register))
        siblings.answer("regions.take_back", _command(regions.take_back))
        siblings.answer("regions.unregister", _command(regions.unregister))
        siblings.keep(
            "regions",
            snapshot=lambda: [region.snapshot for region in regions.registered()],
            restore=self._restore,
        )

    async def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open a region in every process, or in none. Raises what Regions.opened raises, and Unsupported."""
        if not self.is_allowed:
            raise Unsupported("This server does not use shared memory: set SMALTI_SHARED_MEMORY to 'on'.")
        self.regions.opened(
            name, key, offset, byte_size
        )  # what is refused here, no other process needs to hear
        call = uuid4().hex
        try:
            await self._siblings.tell_all("regions.register", [name, key, offset, byte_size, call])
        except SmaltiError:  # another call may have registered the name meanwhile: its region stays
            await self._siblings.tell_all("regions.take_back", [name, call])
            raise

    async def unregister(self, name: str) -> None:
        """Close a region in every process, all of them if the name is empty."""
        await self._siblings.tell_all("regions.unregister", [name])

    async def _restore(self, described: list[dict[str, Any]]) -> None:
        for each in described:
            try:
                self.regions.register(**each)
            except SmaltiError as error:  # its file may be gone
                log.warning("a shared memory region is not known to a new process", reason=str(error))


def place_of(parameters: Any) -> Place | None:
    """Where a tensor's parameters say that it lies; None if it travels in the message. Raises InvalidRequest."""
    region = text_of(parameters, f"{_MAPPING}region")
    if not region:
        return None
    return Place(
        region, count_of(parameters, f"{_MAPPING}offset"), count_of(parameters, f"{_MAPPING}byte_size")
    )


def _command(work: Callable[..., None]) -> Callable[[list[Any]], Awaitable[None]]:
    async def run(argument: list[Any]) -> None:
        work(*argument)

    return run


def _open(key: str) -> int:
    """The file of a key, opened; the key is a name and never a path."""
    matched = _KEY.fullmatch(key)
    if matched is None or matched[1] in (".", ".."):
        raise InvalidRequest(
            f"'{printable(key)}' is no key of shared memory: write the name that shm_open got, without folders."
        )
    if (length := len(os.fsencode(matched[1]))) > _LONGEST_KEY:
        raise InvalidRequest(f"a key of shared memory has at most {_LONGEST_KEY} bytes, not {length}.")
    try:
        file = os.open(_FOLDER / matched[1], os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"Unable to open shared memory region: '{printable(key)}' ({_why(error)})."
        ) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise InvalidRequest(f"Unable to open shared memory region: '{printable(key)}' is no plain file.")
    return file


def _check_size(file: int, key: str, offset: int, byte_size: int) -> None:
    found = os.fstat(file).st_size
    if not byte_size or offset + byte_size > found:
        raise InvalidRequest(
            f"the shared memory '{printable(key)}' has {found} bytes; a region of {byte_size} from {offset} on "
            "does not fit into it."
        )


def _cut(place: Place) -> InvalidRequest:
    return InvalidRequest(
        f"the shared memory of region '{printable(place.region)}' has become shorter since it was registered."
    )


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:  # it is opened with O_NOFOLLOW
        return "it is a symbolic link"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is no file name"
