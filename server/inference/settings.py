"""Keeps what TraceSetting and LogSettings set, checked as Triton does and the same in all processes.

smalti writes no traces for them and logs as SMALTI_LOG_LEVEL says: it only stores them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from server.inference import protocol
from server.inference.naming import ProtocolModels
from server.siblings import Siblings
from smalti.errors import InvalidRequest, Unsupported
from smalti.printable import printable

TraceValues = dict[str, list[str]]
LogValues = dict[str, bool | int | str]
_ALL = ""  # stands for the settings of all models
_TRACE: TraceValues = {
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
}
_TRACE_FIXED: TraceValues = {"trace_file": [""], "trace_mode": ["triton"]}
_TRACE_RANGES = {
    "trace_rate": (0, 2**32 - 1),
    "trace_count": (-1, 2**31 - 1),
    "log_frequency": (0, 2**32 - 1),
}
_LEVELS = ("TIMESTAMPS", "TENSORS")
_LONGEST_NUMBER = 11  # characters of the longest allowed number
_LOG: LogValues = {
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}
_LOG_FIXED: LogValues = {"log_file": ""}
_LOG_FORMATS = ("default", "ISO8601")


class Settings:
    """Answers TraceSetting and LogSettings. An empty value clears a setting, so that the usual value counts again."""

    def __init__(self, models: ProtocolModels, siblings: Siblings) -> None:
        self._models = models
        self._siblings = siblings
        self._trace: dict[str, TraceValues] = {}  # by model
        self._log: LogValues = {}
        siblings.answer("protocol.trace", self._set_trace)
        siblings.answer("protocol.log", self._set_log)
        siblings.keep("protocol.trace", snapshot=lambda: self._trace, restore=self._restore_trace)
        siblings.keep("protocol.log", snapshot=lambda: self._log, restore=self._set_log)

    async def trace(self, request: Any) -> Any:
        """Set what the request says, for one model or for all, and give all its settings."""
        model = request.model_name
        if model:
            self._models.get(model)
        if request.settings:
            news = {
                name: _trace_value(name, list(each.value)) for name, each in sorted(request.settings.items())
            }
            await self._siblings.tell_all("protocol.trace", [model, news])
        settings = _TRACE | _TRACE_FIXED | self._trace.get(_ALL, {}) | self._trace.get(model, {})
        value = protocol.TraceSettingResponse.SettingValue
        return protocol.TraceSettingResponse(
            settings={name: value(value=values) for name, values in settings.items()}
        )

    async def log(self, request: Any) -> Any:
        """Set what the request says, and give all settings."""
        if request.settings:
            news = {name: _log_value(name, each) for name, each in sorted(request.settings.items())}
            await self._siblings.tell_all("protocol.log", news)
        settings = _LOG | _LOG_FIXED | self._log
        return protocol.LogSettingsResponse(
            settings={name: _log_answer(value) for name, value in settings.items()}
        )

    async def _set_trace(self, argument: tuple[str, TraceValues]) -> None:
        model, news = argument
        self._trace[model] = _merged(self._trace.get(model, {}), news)
        if not self._trace[model]:
            del self._trace[model]

    async def _restore_trace(self, trace: dict[str, TraceValues]) -> None:
        self._trace = trace

    async def _set_log(self, news: LogValues) -> None:
        self._log = _merged(self._log, news)


def _merged(values: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """The settings after a change; what is cleared, by None or no values, is left out."""
    return {name: value for name, value in {**values, **news}.items() if value not in (None, [])}


def _trace_value(name: str, values: Sequence[str]) -> list[str]:
    """The values of a trace setting as they are kept; raises InvalidRequest or Unsupported."""
    if name == "trace_file":
        raise Unsupported("trace file location can not be updated through network protocol.")
    if name in _TRACE_FIXED:
        raise Unsupported(f"The trace setting '{name}' cannot be changed.")
    if name not in _TRACE:
        raise _unknown("trace", name, _TRACE)
    if not values:
        return []
    return _levels(values) if name == "trace_level" else [_number(name, values)]


def _levels(values: Sequence[str]) -> list[str]:
    if "OFF" in values:
        if len(values) > 1:
            raise _refused("Expect only one trace level 'OFF' is specified.")
        return ["OFF"]
    for value in values:
        if value not in _LEVELS:
            raise _refused(
                f"There is no trace level '{printable(value)}': there are OFF, {', '.join(_LEVELS)}."
            )
    return [level for level in _LEVELS if level in values]


def _number(name: str, values: Sequence[str]) -> str:
    if len(values) > 1:
        raise _refused(f"expect only 1 value for '{name}'.")
    [value] = values
    try:
        number = int(value[: _LONGEST_NUMBER + 1])
    except ValueError as error:
        raise _refused(f"Unable to parse '{name}', got: {printable(value)}.") from error
    low, high = _TRACE_RANGES[name]
    if not low <= number <= high:
        raise _refused(
            f"Unable to parse '{name}', value is out of range [ {low}, {high} ], got: {printable(value)}."
        )
    return str(number)


def _log_value(name: str, given: Any) -> bool | int | str | None:
    """The value of a log setting as it is kept, None to clear it; raises InvalidRequest or Unsupported."""
    if name in _LOG_FIXED:
        raise Unsupported("log file location can not be updated through network protocol.")
    if name not in _LOG:
        raise _unknown("log", name, _LOG)
    choice = given.WhichOneof("parameter_choice")
    if choice is None:
        return None
    expected, kind = _KINDS[type(_LOG[name])]
    if choice != expected:
        raise _refused(f"expect {kind} for '{name}'.")
    value: bool | int | str = getattr(given, choice)
    if name == "log_format" and value not in _LOG_FORMATS:
        raise _refused(f"invalid argument for log_format, got: {printable(str(value))}.")
    return value


_KINDS: dict[type, tuple[str, str]] = {
    bool: ("bool_param", "boolean"),
    int: ("uint32_param", "int32"),
    str: ("string_param", "string"),
}


def _log_answer(value: bool | int | str) -> Any:
    field, _ = _KINDS[type(value)]
    return protocol.LogSettingsResponse.SettingValue(**{field: value})


def _unknown(kind: str, name: str, known: Mapping[str, object]) -> InvalidRequest:
    return _refused(f"There is no {kind} setting '{printable(name)}': there are {', '.join(known)}.")


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, field="settings")
