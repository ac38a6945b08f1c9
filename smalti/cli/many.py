"""Reads the pictures of a job that completes many: files, folders, zips, or a JSONL file that lists them."""

import binascii
import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image as pillow

from smalti.cli import inputs
from smalti.client import Completion, Model
from smalti.errors import InvalidRequest
from smalti.pictures import finding, reader
from smalti.pictures.fitting import Fit
from smalti.pictures.report import Report, report_of
from smalti.printable import escaped

LIST = ".jsonl"
_KEYS = frozenset({"image", "png", "rows", "mask", "name"})
_NOTHING_SKIPPED = report_of([], [], others=0)


@dataclass(frozen=True, slots=True)
class Many:
    """Pictures and what is kept of them, in the order of the job's samples."""

    names: Sequence[str]
    completions: Sequence[Completion]
    report: Report  # on pictures in folders and zips that cannot be used


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept of pictures: the first rows, or a mask; neither if that is not said."""

    rows: int | None
    mask: Path | None

    @property
    def is_said(self) -> bool:
        """Whether exactly one of both is there."""
        return (self.rows is None) != (self.mask is None)


def is_many(paths: Sequence[Path]) -> bool:
    """Whether these paths stand for more than one picture."""
    return len(paths) > 1 or any(path.is_dir() or path.suffix.lower() in (LIST, ".zip") for path in paths)


def read(model: Model, paths: Sequence[Path], keeping: Keeping, how: Fit | None) -> Many:
    """The pictures and what is kept of them; raises InvalidRequest."""
    if any(path.suffix.lower() == LIST for path in paths):
        if len(paths) > 1:
            raise InvalidRequest(f"A {LIST} file lists all pictures of a job: give it alone.")
        return _listed(model, paths[0], keeping, how)
    if not keeping.is_said:
        raise InvalidRequest("Say which part of the pictures to keep: either --rows N or --mask FILE.")
    found = inputs.read(model, paths, how)
    mask = None if keeping.mask is None else inputs.mask(model, keeping.mask, how)
    completions = [Completion(image=image, rows=keeping.rows, mask=mask) for image in found.images]
    return Many(found.names, completions, found.report)


def _listed(model: Model, path: Path, keeping: Keeping, how: Fit | None) -> Many:
    """The pictures that the lines of a file list. Paths in it begin at its folder."""
    mask_in = cache(lambda file: inputs.mask(model, file, how))  # the same mask may be in every line
    names, completions = [], []
    for number, line in _lines(path):
        try:
            values = _values(line)
            kept = _keeping(values, path.parent, keeping)
            image = _image(values, path.parent, model, how)
            mask = None if kept.mask is None else mask_in(kept.mask)
            completions.append(Completion(image=image, rows=kept.rows, mask=mask))
            names.append(values.get("name") or values.get("image") or f"line {number}")
        except (InvalidRequest, ValueError) as error:
            raise InvalidRequest(
                f"{escaped(str(path))}, line {number}: {error} Nothing was queued.", field="image"
            ) from error
    if not completions:
        raise InvalidRequest(f"{escaped(str(path))} lists no picture.", field="image")
    return Many(names, completions, _NOTHING_SKIPPED)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InvalidRequest(f"{escaped(str(path))} cannot be read: {reason}.", field="image") from error


def _values(line: str) -> dict[str, Any]:
    """The object in a line; raises ValueError."""
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError(f"This is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ValueError('A line is an object, such as {"image": "cat.png", "rows": 10}.')
    if strange := sorted(values.keys() - _KEYS):
        raise ValueError(f"Nothing reads '{escaped(strange[0])}': a line has {', '.join(sorted(_KEYS))}.")
    for key in _KEYS & values.keys():
        kind = int if key == "rows" else str
        if not isinstance(values[key], kind) or isinstance(values[key], bool):
            raise ValueError(f"'{key}' is a {'whole number' if key == 'rows' else 'text'}.")
    return values


def _keeping(values: dict[str, Any], folder: Path, usual: Keeping) -> Keeping:
    if "rows" not in values and "mask" not in values:
        kept = usual
    else:
        mask = folder / values["mask"] if "mask" in values else None
        kept = Keeping(values.get("rows"), mask)
    if not kept.is_said:
        raise ValueError("Say which part to keep: either rows or mask, in the line or as an option.")
    return kept


def _image(values: dict[str, Any], folder: Path, model: Model, how: Fit | None) -> pillow.Image:
    if ("image" in values) == ("png" in values):
        raise ValueError("A line has either an image (a path) or a png (base64).")
    if "image" in values:
        return inputs.picture(model, folder / finding.place(values["image"]), how)
    try:
        data = b64decode(values["png"], validate=True)
    except binascii.Error:
        raise ValueError("'png' is not base64.") from None
    return inputs.fitted(model, how)(reader.read(data))
