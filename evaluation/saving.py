"""Saves the figures: into a JSON file, and into the manifest of the version that was measured."""

import json
from pathlib import Path
from typing import Any

from evaluation.measure import Findings
from smalti.runtime.manifest import MANIFEST, Evaluation
from smalti.runtime.repository import Model
from training.errors import EvaluationRefused
from training.measures.intervals import plain


def describe(findings: Findings, *, command: str, date: str, seed: int) -> Evaluation:
    """The figures in the form that a manifest keeps."""
    return Evaluation(
        command=command,
        date=date,
        seed=seed,
        test_images=len(findings.images.test),
        drawn_images=len(findings.drawn),
        figures=plain(findings.figures()),
    )


def save_json(findings: Findings, evaluation: Evaluation, file: Path) -> None:
    """Write the figures and the nats of every test image, so that other results can be paired with them."""
    manifest = findings.manifest
    content = {
        "model": manifest.name,
        "version": manifest.version,
        "family": manifest.family,
        "data": manifest.data.model_dump(),
        **evaluation.model_dump(),
        "per_image": _per_image(findings),
    }
    _write(file, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def save_in_manifest(model: Model, evaluation: Evaluation) -> None:
    """Put the figures into the version's manifest; nothing else in it changes."""
    manifest = model.manifest.model_copy(update={"evaluation": evaluation})
    _write(model.folder / MANIFEST, manifest.model_dump_json(indent=2))


def _per_image(findings: Findings) -> dict[str, Any]:
    """For every test image, in order: its group of near-duplicates, and its nats."""
    groups = findings.images.test_groups
    found: dict[str, Any] = {"group": None if groups is None else groups.tolist()}
    if findings.cost is not None:
        found["nats"] = findings.cost.nats.round(4).tolist()
        found["mixture_nats"] = findings.cost.mixture_nats.round(4).tolist()
    return found


def _write(file: Path, text: str) -> None:
    """Write atomically: a reader sees the old file or the new one."""
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        raise EvaluationRefused(f"{file} cannot be written: {error.strerror}.") from error
