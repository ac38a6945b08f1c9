"""Pictures as files: which endings there are, what each holds, and what it loses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image as pillow
from PIL import features

from smalti.errors import InvalidRequest

LARGEST_SCALE = 64
_LARGEST_PICTURE = 1 << 26  # pixels: 200 MB while it is written
_SCREEN_SIDE = 256  # screen pixels of a single picture, which would be a dot otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How a kind of file is written."""

    name: str  # Pillow's
    endings: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    largest_side: int = 1 << 30  # pixels
    colours: int = 1 << 24
    feature: str = ""  # what Pillow may have been built without


PNG = Format(name="PNG", endings=(".png",))
FORMATS = (
    PNG,
    Format(
        name="WEBP",
        endings=(".webp",),
        options={"lossless": True, "exact": True},
        largest_side=16383,
        feature="webp",
    ),
    Format(
        name="JPEG",
        endings=(".jpg", ".jpeg"),
        options={"quality": 95, "subsampling": 0},
        largest_side=65500,
        feature="jpg",
    ),
    Format(name="GIF", endings=(".gif",), largest_side=65535, colours=256),
    Format(name="BMP", endings=(".bmp",)),
)


def format_of(path: Path) -> Format:
    """What a file's ending says, in whichever case; raises InvalidRequest for an ending that is not known."""
    for form in FORMATS:
        if path.suffix.lower() in form.endings:
            return _available(form)
    known = ", ".join(ending for form in FORMATS for ending in form.endings)
    said = f"ends in {path.suffix}" if path.suffix else "has no ending"
    raise InvalidRequest(f"{path} {said}; a picture is written as one of {known}.")


def _available(form: Format) -> Format:
    if form.feature and not features.check(form.feature):
        raise InvalidRequest(
            f"The Pillow that is installed here was built without {form.name}: take .png instead."
        )
    return form


def encoded(picture: pillow.Image, form: Format) -> bytes:
    """The bytes of the file."""
    stream = BytesIO()
    _fitting(picture, form).save(stream, form.name, **form.options)
    return stream.getvalue()


def loss(picture: pillow.Image, form: Format) -> str:
    """What the file does not keep of the picture, in a sentence; nothing where it keeps all."""
    if form.name == "JPEG":
        return "JPEG changes colours a little, so do not give the file back to smalti; .png keeps them."
    if form.name == "GIF" and picture.mode != "P" and picture.getcolors(form.colours) is None:
        return f"GIF holds {form.colours} colours, so some became their neighbours; .png keeps them all."
    return ""


def _fitting(picture: pillow.Image, form: Format) -> pillow.Image:
    if form.name in {"JPEG", "WEBP"}:
        return picture.convert("RGB")
    if form.name == "GIF" and picture.mode != "P":
        return picture.quantize(form.colours, method=pillow.Quantize.MEDIANCUT, dither=pillow.Dither.NONE)
    return picture


def screen_scale(width: int, height: int) -> int:
    """How much a single picture is enlarged so that it can be looked at."""
    return min(LARGEST_SCALE, max(1, _SCREEN_SIDE // max(width, height)))


def fits(width: int, height: int, form: Format = PNG) -> bool:
    """Whether a picture of this size can be written."""
    return width * height <= _LARGEST_PICTURE and max(width, height) <= form.largest_side


def require_fit(width: int, height: int, form: Format = PNG) -> None:
    """Raise InvalidRequest for a picture that is too large to write."""
    if not fits(width, height, form):
        raise InvalidRequest(
            f"The picture would be {width}×{height}, too large for one {form.name} file: "
            "take a smaller --scale, or a folder for one file each."
        )


def enlarged(picture: pillow.Image, scale: int) -> pillow.Image:
    """The picture with each pixel as scale × scale equal ones."""
    if scale == 1:
        return picture
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, pillow.Resampling.NEAREST)
