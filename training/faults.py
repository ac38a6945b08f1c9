"""Says in one sentence what is wrong in a table of a recipe, and names the known keys."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

_NAMED = 8  # faults that a sentence names; the others are only counted
_WANTED = {  # pydantic's error types in plain words
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "finite_number": "must be a finite number",
    "string_pattern_mismatch": "must be made of lower-case letters, digits and dashes, and not be too long",
}
_KINDS = {  # by the first word of pydantic's error types
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be a text in quotes",
    "tuple": "must be a list in brackets",
    "list": "must be a list in brackets",
    "dict": "must be a table",
    "model": "must be a table",
    "dataclass": "must be a table",
}


def sentence(error: ValidationError, kind: type[BaseModel] | None = None, *, prefix: str = "") -> str:
    """Where and why a table of this class was refused; unknown keys come first."""
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")

    return listed([_described(fault, kind, prefix) for fault in faults])


def listed(reasons: Sequence[str]) -> str:
    """The first reasons, and how many more there are."""
    more = len(reasons) - _NAMED
    return "; ".join(reasons[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _described(fault: Mapping[str, Any], kind: type[BaseModel] | None, prefix: str) -> str:
    where = ".".join([*([prefix] if prefix else []), *map(str, fault["loc"])]) or "its top"
    if fault["type"] == "extra_forbidden":
        table = inner(kind, [str(part) for part in fault["loc"][:-1]]) if kind else None
        return f"{where}: {unknown(str(fault['loc'][-1]), keys(table) if table else [])}"
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "value_error":
        return f"{where}: {fault['ctx']['error']}"
    return f"{where}: {_wanted(fault)}, not {shown(fault['input'])}"


def _wanted(fault: Mapping[str, Any]) -> str:
    if words := _WANTED.get(fault["type"]):
        return words.format(**{name: _plain(value) for name, value in fault.get("ctx", {}).items()})
    return _KINDS.get(fault["type"].split("_")[0], "cannot be this")


def _plain(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def shown(value: object) -> str:
    """A value, shortened for a sentence."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a number of thousands of digits"


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say about a key or name that does not exist."""
    known = list(known)
    return f"there is no '{name}'{did_you_mean(name, known)}; known are {', '.join(known) or 'none'}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The most similar known name as a question, or ''."""
    alike = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{alike[0]}'?)" if alike else ""


def keys(kind: type[BaseModel]) -> list[str]:
    """The keys of a table, as written in a recipe."""
    return [field.alias or name for name, field in kind.model_fields.items()]


def inner(kind: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """The class of a table inside a table, or None."""
    for name in path:
        found: Any = kind.model_fields[name].annotation if name in kind.model_fields else None
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            return None
        kind = found
    return kind
