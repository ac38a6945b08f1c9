"""Checks single values before they go into a request; every refusal names the field."""

import operator
from typing import Any

from smalti.errors import InvalidRequest
from smalti.v1 import types_pb2

_LONGEST_SHOWN = 80  # characters of a wrong value in a sentence


def check_whole(field: str, value: int | None, *, least: int = 0, bits: int = 64) -> None:
    """Raise InvalidRequest unless the value is None (unset) or a whole number from `least` that fits into `bits`."""
    try:
        fits = value is None or least <= operator.index(value) < 2**bits
    except TypeError:
        fits = False
    if not fits:
        raise InvalidRequest(
            f"{field} is {shown(value)}; it must be a whole number from {least} to 2^{bits}−1.", field=field
        )


def real(field: str, value: Any) -> float:
    """The value as a number; raises InvalidRequest for anything else."""
    if not hasattr(value, "__float__"):  # text has none
        raise InvalidRequest(f"{field} is {shown(value)}; it must be a number.", field=field)
    return float(value)


def text(field: str, value: object) -> str:
    """The value as text; raises InvalidRequest for other types and for text that UTF-8 cannot hold.

    Python turns such bytes in a command line into lone surrogates.
    """
    if not isinstance(value, str):
        raise InvalidRequest(f"{field} is {shown(value)}; it must be a string.", field=field)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidRequest(f"{field} is {shown(value)}, which is not UTF-8 text.", field=field)
    return value


def shown(value: object) -> str:
    """A wrong value, short enough for a sentence."""
    text = ascii(value) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def model_version(name: str, version: int) -> types_pb2.ModelVersion:
    """The message that names a model."""
    check_whole("version", version, bits=32)
    return types_pb2.ModelVersion(name=text("model", name), version=version)
