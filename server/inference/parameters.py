"""Reads the parameters of requests and tensors: those that the protocol reserves, and none of the others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from smalti.errors import InvalidRequest
from smalti.printable import printable

EMPTY_FINAL = "triton_enable_empty_final_response"
_RESERVED = "triton_"
_WHOLE = ("int64_param", "uint64_param")
_KINDS = {  # what a parameter of a request may be
    "sequence_id": (*_WHOLE, "string_param"),
    "sequence_start": ("bool_param",),
    "sequence_end": ("bool_param",),
    "priority": _WHOLE,
    "timeout": _WHOLE,
    EMPTY_FINAL: ("bool_param",),
}
_MICROSECOND = 1e-6


class Options(NamedTuple):
    """How a request is to be answered."""

    priority: int = 0  # 0: the usual one
    timeout_seconds: float | None = None  # how long it may wait
    wants_empty_final: bool = False  # whether a stream says by an empty response that the request is done


_USUAL = Options()


def options_of(parameters: Mapping[str, Any]) -> Options:
    """The options in a request's parameters. Those of sequences are checked and change nothing: no model has a state.

    Raises InvalidRequest for a value of another type, and for other parameters that Triton reserves.
    """
    if not parameters:
        return _USUAL
    values = {name: _value(name, parameters[name]) for name in parameters}
    timeout = values.get("timeout") or 0
    return Options(
        priority=values.get("priority") or 0,
        timeout_seconds=timeout * _MICROSECOND if timeout else None,
        wants_empty_final=bool(values.get(EMPTY_FINAL)),
    )


def count_of(parameters: Mapping[str, Any], name: str) -> int:
    """A whole number in a tensor's parameters, 0 if it is not there; raises InvalidRequest."""
    if name not in parameters:
        return 0
    return _not_negative(name, _typed(name, parameters[name], _WHOLE))


def text_of(parameters: Mapping[str, Any], name: str) -> str:
    """A text in a tensor's parameters, empty if it is not there; raises InvalidRequest."""
    return _typed(name, parameters[name], ("string_param",)) if name in parameters else ""


def _value(name: str, parameter: Any) -> Any:
    """The value of a parameter that the protocol knows; None for one that clients may use as they like."""
    if name in _KINDS:
        value = _typed(name, parameter, _KINDS[name])
        return _not_negative(name, value) if name in ("priority", "timeout") else value
    if name.startswith(_RESERVED):
        raise InvalidRequest(
            f"parameters whose names start with '{_RESERVED}' are reserved, and '{printable(name)}' is not one "
            f"that the server knows: it knows '{EMPTY_FINAL}'.",
            field="parameters",
        )
    return None


def _typed(name: str, parameter: Any, kinds: tuple[str, ...]) -> Any:
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in kinds:
        raise InvalidRequest(
            f"invalid value type for '{name}' parameter, expected {' or '.join(kinds)}.", field="parameters"
        )
    return getattr(parameter, kind)


def _not_negative(name: str, value: int) -> int:
    if value < 0:
        raise InvalidRequest(f"the '{name}' parameter is {value}, but must be 0 or more.", field="parameters")
    return value
