"""Checks JSON that others wrote: it must be one object and follow the standard strictly."""

import codecs
import json
from math import isfinite
from typing import Any

_MOST_DIGITS = 308  # digits of a whole number; the largest float has about as many


def checked(data: bytes) -> bytes:
    """The same bytes without a byte order mark, if they are one object in UTF-8; raises ValueError if not.

    It also refuses what JSON readers usually accept: a name that occurs twice, NaN, numbers too large for a float.
    """
    data = data.removeprefix(codecs.BOM_UTF8)  # some editors on Windows write it
    if not data.strip(b"\0 \t\r\n"):
        raise ValueError("it is empty")
    try:
        found = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_number,
            parse_int=_whole,
        )
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"it is not an object, but a {type(found).__name__}")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has '{name}' twice in one object")
        found[name] = value
    return found


def _refuse_constant(word: str) -> float:
    raise ValueError(f"it has the number {word}, which JSON does not know")


def _number(digits: str) -> float:
    if not isfinite(float(digits)):
        raise _too_large(digits)
    return float(digits)


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _too_large(digits)
    return int(digits)


def _too_large(digits: str) -> ValueError:
    return ValueError(
        f"it has the number {digits if len(digits) <= 20 else digits[:20] + '…'}, which is too large"
    )
