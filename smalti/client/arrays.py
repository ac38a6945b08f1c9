"""Reads arrays as pictures without importing numpy: arrays describe themselves by __array_interface__."""

from typing import Any

from PIL import Image as pillow

from smalti.errors import ImageRefused, InvalidRequest

WANTED = (
    "An image is a smalti or Pillow image, PNG bytes, a path, or an array of uint8: "
    "(height, width) grey or (height, width, 3 or 4) colours"
)
WANTED_MANY = f"{WANTED}; many are a list of these, or an array of (count, height, width, 3 or 4)"
_MODES = {(): "L", (3,): "RGB", (4,): "RGBA"}  # by the axes after height and width


def listed(array: Any) -> list[Any]:
    """The pictures in an array of (count, height, width, 3 or 4); an array of another shape is one picture."""
    array = _numeric(array)
    return [array[number] for number in range(len(array))] if len(_shape(array)) == 4 else [array]


def picture(array: Any, wanted: str = WANTED) -> pillow.Image:
    """The array as a picture; raises ImageRefused, which lists the forms that are taken."""
    array = _numeric(array)
    shape = _shape(array)
    is_picture = len(shape) >= 2 and shape[2:] in _MODES
    if not is_picture or not all(shape) or _kind(array) != "|u1":
        said = f"an array of {_kind(array)} with shape {shape}" if shape else type(array).__name__
        raise ImageRefused(f"{wanted}, not {said}.", field="image")
    return _from_bytes(array, shape) or pillow.fromarray(array)


def _from_bytes(array: Any, shape: tuple[int, ...]) -> pillow.Image | None:
    """The picture of an object whose interface names a bytes object; Pillow cannot read these."""
    data, strides = (array.__array_interface__.get(name) for name in ("data", "strides"))
    if strides is not None or not isinstance(data, bytes | bytearray | memoryview):
        return None
    mode = _MODES[shape[2:]]
    return pillow.frombuffer(mode, (shape[1], shape[0]), bytes(data), "raw", mode, 0, 1)


def mask(values: Any) -> bytes:
    """A mask (bytes, or an array of booleans or uint8) as one byte a pixel; raises InvalidRequest."""
    if isinstance(values, bytes | bytearray | memoryview):
        return bytes(values)
    array = _numeric(values)
    if _kind(array) not in {"|u1", "|b1"}:
        raise InvalidRequest(
            "A mask is bytes, or an array of booleans or uint8: 1 where a pixel is kept, 0 where it is drawn.",
            field="mask",
        )
    return bytes(array.tobytes())


def _numeric(array: Any) -> Any:
    """An array as it is, or the array of a tensor."""
    if hasattr(array, "__array_interface__") or not hasattr(array, "__array__"):
        return array
    return array.__array__()


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(getattr(array, "__array_interface__", {}).get("shape", ()))


def _kind(array: Any) -> str:
    """The type in numpy's spelling: '|u1' is uint8, '<f8' is float64."""
    return str(getattr(array, "__array_interface__", {}).get("typestr", ""))
