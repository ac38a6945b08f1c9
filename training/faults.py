"""Says what is wrong in a table of a recipe, in one sentence, with the keys that are known."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError


def sentence(error: ValidationError, kind: type[BaseModel], *, prefix: str = "") -> str:
    """Where and why a table of this kind was refused: the first reason only, preferring keys that are not known."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    where = ".".join([*([prefix] if prefix else []), *map(str, fault["loc"])])
    if fault["type"] == "extra_forbidden":
        table = inner(kind, [str(part) for part in fault["loc"][:-1]])
        return f"{where}: {unknown(str(fault['loc'][-1]), keys(table) if table else [])}"
    given = "" if fault["type"] == "missing" else f", not {fault['input']!r:.60}"
    return f"{where or 'its top'}: {fault['msg']}{given}"


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a key or name that there is not."""
    known = list(known)
    return f"there is no '{name}'{did_you_mean(name, known)}; known are {', '.join(known) or 'none'}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The known name that is most like it, as a question; '' where none is."""
    alike = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{alike[0]}'?)" if alike else ""


def keys(kind: type[BaseModel]) -> list[str]:
    """The keys of a table as a recipe spells them."""
    return [field.alias or name for name, field in kind.model_fields.items()]


def inner(kind: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """The kind of a table in a table; None where there is none."""
    for name in path:
        found: Any = kind.model_fields[name].annotation if name in kind.model_fields else None
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            return None
        kind = found
    return kind
