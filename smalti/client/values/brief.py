"""A short repr for values that hold a lot."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from enum import StrEnum

_LONGEST_REPR = 60  # characters of one field


class Brief:
    """A value with a short repr: a long field is shown as its size."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = (f"{field.name}={_brief(getattr(self, field.name))}" for field in fields(self))  # type: ignore[arg-type]  # every subclass is a dataclass
        return f"{type(self).__name__}({', '.join(shown)})"


def _brief(value: object) -> str:
    match value:
        case StrEnum() | datetime():
            return str(value)
        case bytes() | tuple() | list() | Mapping() if len(value) > 4:
            return f"<{len(value)} {'bytes' if isinstance(value, bytes) else 'items'}>"
    text = repr(value)
    return text if len(text) <= _LONGEST_REPR or isinstance(value, Brief) else f"{text[:_LONGEST_REPR]}…"
