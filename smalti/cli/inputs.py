"""Reads the pictures that a command is given, in its model's size, and names those that it skips."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as pillow

from smalti import media
from smalti.cli.exit_codes import PARTLY
from smalti.cli.output import plain, say
from smalti.client import ColourChange, Model
from smalti.errors import ImageRefused
from smalti.pictures import finding, fitting
from smalti.pictures.fitting import Fit
from smalti.pictures.reader import Picture
from smalti.pictures.report import Report

_IMAGES_AT_ONCE = 64  # images in a request; servers take 256 small ones
_PIXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Inputs:
    """The pictures that a command works on."""

    model: Model
    names: tuple[str, ...]  # paths, beginning with the one that was given
    images: tuple[pillow.Image, ...]  # RGBA, in the model's size
    report: Report

    def portions(self) -> Iterator[Sequence[pillow.Image]]:
        """The images in portions that fit into a request."""
        count = max(1, min(_IMAGES_AT_ONCE, _PIXELS_AT_ONCE // (self.model.height * self.model.width)))
        for start in range(0, len(self.images), count):
            yield self.images[start : start + count]


def read(model: Model, paths: Sequence[Path], how: Fit | None) -> Inputs:
    """The pictures of files, folders and zips; raises ImageRefused."""
    gathered = finding.gather(paths, fitted(model, how))
    return Inputs(
        model=model,
        names=tuple(found.label for found in gathered.found),
        images=tuple(found.content for found in gathered.found),
        report=gathered.report,
    )


def picture(model: Model, path: Path, how: Fit | None) -> pillow.Image:
    """The picture in a file (RGBA), in the model's size; raises ImageRefused."""
    return finding.take_picture(path, fitted(model, how))


def mask(model: Model, path: Path, how: Fit | None) -> bytes:
    """A picture as a mask, one byte a pixel: light pixels are kept; raises ImageRefused."""
    return media.mask(picture(model, path, how))


def stems(names: Sequence[str]) -> list[str]:
    """The names without folder and ending; repeated ones get a number."""
    seen: Counter[str] = Counter()
    return [_numbered(Path(name).stem, seen) for name in names]


def total(changes: Iterable[ColourChange]) -> ColourChange:
    """All colour changes as one."""
    every = list(changes)
    return ColourChange(
        sum(change.moved_pixels for change in every), max(change.largest_distance for change in every)
    )


def skipped(report: Report) -> dict[str, Any]:
    """For --json: the skipped pictures, if there are any."""
    return {"skipped": plain(report.skipped)} if report.skipped else {}


def report_skipped(report: Report) -> None:
    """Name the skipped pictures and exit with PARTLY, if there are any; a command's last step."""
    if report.skipped:
        say(report.skipped_sentence())
        raise SystemExit(PARTLY)


def fitted(model: Model, how: Fit | None) -> Callable[[Picture], pillow.Image]:
    """A function that brings pictures to the model's size; without `how` it refuses other sizes."""
    wanted = (model.width, model.height)

    def bring(picture: Picture) -> pillow.Image:
        width, height = picture.rgba.size
        if how is None and (width, height) != wanted:
            reason = f"is {width}×{height}, and {model.name} takes {wanted[0]}×{wanted[1]}: see --fit"
            raise ImageRefused(f"The image {reason}.", field="image")
        return picture.rgba if how is None else fitting.fit(picture.rgba, wanted, how)

    return bring


def _numbered(stem: str, seen: Counter[str]) -> str:
    seen[stem] += 1
    return stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"
