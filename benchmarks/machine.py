"""Describes the machine and the date of a measurement."""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime


def describe() -> dict[str, Any]:
    """What a reader of a figure needs to know besides the command."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),  # of the last minute: a busy machine is slower
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        **{name: version(name) for name in ("numpy", "torch") if find_spec(name)},
    }


def headline() -> str:
    """The description in one line."""
    return ", ".join(f"{name} {value}" for name, value in describe().items())


def write(file: Path | None, figures: Mapping[str, Any]) -> None:
    """Write figures and machine as JSON, if there is a file to write to."""
    if file is not None:
        file.write_text(json.dumps({"machine": describe(), **figures}, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
