"""Reads and writes the images of requests: admitted before anything is decoded, then in turns with other requests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from server.messages import images
from server.messages.images import GivenImages, ImageModel
from server.oneshot.turns import Room, Turns
from smalti.v1 import types_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureWork:
    """The images of one admitted request: those that it brings, and those that answer it."""

    model: ImageModel
    given: Sequence[types_pb2.Image]
    fields: Sequence[str]
    form: int
    deadline: float | None
    turns: Turns

    async def read(self) -> GivenImages:
        """The images that the request brings; raises ImageRefused or DeadlinePassed."""
        steps = images.readers(self.model, self.given, fields=self.fields)
        return images.gathered(await self.turns.run(steps, deadline=self.deadline))

    async def write(self, pixels: NDArray[Any]) -> list[types_pb2.Image]:
        """Messages of the images (images, height, width) that a graph gave.

        Raises RepositoryDamaged or DeadlinePassed.
        """
        steps = images.writers(self.model, pixels, self.form)
        if self.form == types_pb2.IMAGE_FORMAT_PIXELS:  # only copied
            return [step() for step in steps]
        return await self.turns.run(steps, deadline=self.deadline)


class Pictures:
    """Does the picture work of a server: at most `pixels` of it admitted at once, in turns with other requests."""

    def __init__(self, turns: Turns, *, pixels: int) -> None:
        self._room = Room(pixels)
        self._turns = turns

    @contextmanager
    def admit(
        self,
        model: ImageModel,
        *,
        given: Sequence[types_pb2.Image] = (),
        fields: Sequence[str] = ("images",),
        written: int = 0,
        form: int = types_pb2.IMAGE_FORMAT_PIXELS,
        deadline: float | None = None,
    ) -> Iterator[PictureWork]:
        """Room for reading the `given` images and for writing so many in this form, until the block ends.

        `fields` are the fields of the request that hold the images: one for each image, or one for all. Raises
        ImageRefused for what an image's header shows, and PicturesFull; both before anything is decoded.
        """
        pixels = images.weight(model, given, fields=fields)
        if form != types_pb2.IMAGE_FORMAT_PIXELS:
            pixels += written * images.area(model)
        with self._room.take(pixels):
            yield PictureWork(
                model=model, given=given, fields=fields, form=form, deadline=deadline, turns=self._turns
            )

    async def paint(self, model: ImageModel, indices: bytes, form: int) -> types_pb2.Image:
        """The message of one finished image. It only waits for its turn: a stream has one image at a time in work."""
        [image] = await self._turns.run([images.writer(model, indices, form)])
        return image
