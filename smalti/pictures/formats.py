"""Picture formats for writing: their file endings, their limits, and what each one loses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image as pillow
from PIL import features

from smalti.errors import InvalidRequest

LARGEST_SCALE = 64
_LARGEST_PICTURE = 1 << 26  # pixels; takes 200 MB while it is written
_SCREEN_SIDE = 256  # screen pixels; a single picture would be a dot otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one kind of file is written."""

    name: str  # Pillow's
    endings: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    largest_side: int = 1 << 30  # pixels
    colours: int = 1 << 24
    feature: str = ""  # a part that some builds of Pillow lack


PNG = Format(name="PNG", endings=(".png",))
GIF = Format(name="GIF", endings=(".gif",), largest_side=65535, colours=256)
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
    GIF,
    Format(name="BMP", endings=(".bmp",)),
)


def format_of(path: Path) -> Format:
    """The format that a file's ending names, in any case; raises InvalidRequest for an unknown ending."""
    for form in FORMATS:
        if path.suffix.lower() in form.endings:
            return _available(form)
    known = ", ".join(ending for form in FORMATS for ending in form.endings)
    said = f"ends in {path.suffix}" if path.suffix else "has no ending"
    raise InvalidRequest(f"{path} {said}; a picture is written as one of {known}.")


def _available(form: Format) -> Format:
    if form.feature and not features.check(form.feature):
        raise InvalidRequest(
            f"The Pillow that is installed here was built without {form.name}: use .png instead."
        )
    return form


def encoded(picture: pillow.Image, form: Format) -> bytes:
    """The bytes of the file."""
    stream = BytesIO()
    _fitting(picture, form).save(stream, form.name, **form.options)
    return stream.getvalue()


def moving(frames: Iterable[pillow.Image], milliseconds: Sequence[int]) -> bytes:
    """The bytes of a GIF that shows each frame for its time, again and again."""
    first, *others = [_fitting(frame, GIF) for frame in frames]
    stream = BytesIO()
    first.save(
        stream, "GIF", save_all=True, append_images=others, duration=list(milliseconds), loop=0, disposal=1
    )
    return stream.getvalue()


def loss(picture: pillow.Image, form: Format) -> str:
    """A sentence that says what the file loses of the picture; empty if it keeps everything."""
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
    """The scale at which a single picture is large enough to see."""
    return min(LARGEST_SCALE, max(1, _SCREEN_SIDE // max(width, height)))


def fits(width: int, height: int, form: Format = PNG) -> bool:
    """Whether a picture of this size can be written."""
    return width * height <= _LARGEST_PICTURE and max(width, height) <= form.largest_side


def require_fit(width: int, height: int, form: Format = PNG) -> None:
    """Raise InvalidRequest if a picture of this size is too large to write."""
    if not fits(width, height, form):
        raise InvalidRequest(
            f"The picture would be {width}×{height}, too large for one {form.name} file: "
            "use a smaller --scale, or a folder for one file each."
        )


def enlarged(picture: pillow.Image, scale: int) -> pillow.Image:
    """The picture with each pixel repeated scale × scale times."""
    if scale == 1:
        return picture
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, pillow.Resampling.NEAREST)
