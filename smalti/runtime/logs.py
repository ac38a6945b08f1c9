"""One log format for all processes: events with fields, as text for people or JSON for machines."""

import logging
import sys
from types import TracebackType
from typing import Any

import structlog


def configure(*, level: str, form: str, process: int | None = None) -> None:
    """Send every log event to standard error, as text or as JSON, with the number of the process if there is one.

    An error that nothing catches becomes an event, too.
    """
    renderer: structlog.types.Processor
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *([_numbered(process)] if process is not None else []),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if form == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # one write a line: processes may share it
    )
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical("bug in smalti, please report it", exc_info=(kind, error, trace))


def _numbered(process: int) -> structlog.types.Processor:
    """Adds the number to every event. Context variables would not reach other threads."""

    def add_number(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {**event, "process": process}

    return add_number
