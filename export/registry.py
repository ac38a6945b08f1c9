"""The families that can be exported: one line each. A new family is added here."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from smalti.runtime.manifest import Graph, Parity, State
from training.checkpoint import Checkpoint

EXPORTERS = {  # family: module with a function `write_graphs(checkpoint, folder) -> Exported`
    "pixel_rnn": "export.pixel_rnn",
    "vae": "export.vae",
    "autoencoder": "export.vae",
    "gan": "export.gan",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The graphs that an exporter wrote into a folder, already compared with torch."""

    graphs: dict[str, Graph]
    parity: Parity
    states: tuple[State, ...] = ()
    latent_size: int = 0


WriteGraphs = Callable[[Checkpoint, Path], Exported]


def write_graphs(checkpoint: Checkpoint, folder: Path) -> Exported:
    """Write the checkpoint's graphs with the exporter of its family; raises ExportRefused if they differ from torch."""
    module = import_module(EXPORTERS[checkpoint.recipe.family])
    return cast(WriteGraphs, module.write_graphs)(checkpoint, folder)
