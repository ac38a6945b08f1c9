"""Reads serving.toml, which lies beside the versions of a model and says how their graphs answer one-shot requests.

Each table bears the name of a graph, and holds its knobs; what it does not name is as in the settings.
"""

import tomllib
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from smalti.errors import did_you_mean
from smalti.printable import printable
from smalti.runtime.batching import Batching, QueuePolicy
from smalti.runtime.manifest import fault_of


def parse(data: bytes, graphs: Collection[str], default: Batching) -> Mapping[str, Batching]:
    """The knobs of each of these graphs; raises ValueError with the first thing that is wrong."""
    tables = _tables(data)
    for name in tables:
        if name not in graphs:
            raise ValueError(_unknown(name, graphs))
    return {graph: _knobs(graph, tables.get(graph, {}), default) for graph in graphs}


def _tables(data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # some editors on Windows write a byte order mark
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it has a number that is too long") from None


def _unknown(name: str, graphs: Collection[str]) -> str:
    meant = did_you_mean(name, graphs)
    there = ", ".join(sorted(graphs)) or "none"
    return (
        f"it has '{printable(name)}'{meant}, but each of its tables is a graph for one-shot requests: {there}"
    )


def _knobs(graph: str, table: Any, default: Batching) -> Batching:
    if not isinstance(table, dict):
        raise ValueError(f"'{graph}' is not a table: begin it with a line [{graph}]")
    try:
        return Batching.model_validate(_complete(table, default))
    except ValidationError as error:
        raise ValueError(f"[{graph}] {_fault(error)}") from error
    except ValueError as error:
        raise ValueError(f"[{graph}] {error}") from None


def _complete(table: dict[str, Any], default: Batching) -> dict[str, Any]:
    """The table with the default for whatever it does not name; its levels wait as the graph does."""
    knobs = default.model_dump() | table
    graph = {name: knobs[name] for name in QueuePolicy.model_fields}
    levels = _table("levels", knobs["levels"])
    return knobs | {"levels": {key: graph | _table(f"levels.{key}", own) for key, own in levels.items()}}


def _table(place: str, found: Any) -> dict[Any, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{printable(place)} is not a table")
    return found


def _fault(error: ValidationError) -> str:
    """What is wrong, with the knob that may be meant by an unknown one."""
    first = error.errors(include_url=False)[0]
    if first["type"] != "extra_forbidden":
        return fault_of(error)
    known = QueuePolicy if len(first["loc"]) > 1 else Batching
    return f"{fault_of(error)}{did_you_mean(str(first['loc'][-1]), known.model_fields)}"
