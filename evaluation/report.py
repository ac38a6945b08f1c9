"""Prints the findings: one table for each kind of figure."""

from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.measure import Findings
from training.measures.intervals import Estimate

VERDICTS = {
    "better": "better: zero excluded",
    "worse": "worse: zero excluded",
    "undecided": "undecided: zero included",
}


def show(findings: Findings, console: Console) -> None:
    """Print all tables."""
    figures = findings.figures()
    console.print(_heading(findings))
    for kind, tables in TABLES.items():
        if kind in figures:
            for table in tables(figures[kind]):
                console.print()
                console.print(table)


def _heading(findings: Findings) -> str:
    manifest, images = findings.manifest, findings.images
    groups = (
        ""
        if images.test_groups is None
        else f" in {len(set(images.test_groups.tolist()))} groups of variants"
    )
    return (
        f"{manifest.name} version {manifest.version} ({manifest.family}, {manifest.variant}) on "
        f"{len(images.test)} test images{groups}, {images.height}×{images.width}, {images.colours} colours; "
        f"{len(findings.drawn)} samples drawn. In brackets: 95 % intervals."
    )


def _likelihood(figures: dict[str, Any]) -> list[Table]:
    costs = _costs("Exact negative log-likelihood", "the model", figures, figures["baselines"])
    return [costs, _completion(figures["completion"])]


def _bound(figures: dict[str, Any]) -> list[Table]:
    if "reconstruction_only" in figures:
        title = "Reconstruction alone: no likelihood, because the cost of the latent is left out"
        return [_costs(title, "the auto-encoder", figures["reconstruction_only"], {}), _latents(figures)]
    title = "−ELBO: the exact negative log-likelihood is at most this"
    costs = _costs(title, "the model", figures["negative_elbo"], figures["baselines"])
    return [costs, _parts(figures), _latents(figures)]


def _costs(title: str, name: str, units: dict[str, Any], baselines: dict[str, Any]) -> Table:
    paired = ["model − baseline", "the model is"] if baselines else []
    table = _table(title, "", "nats/image", "nats/pixel", "bits/pixel", *paired)
    table.add_row(
        name,
        _say(units["nats_per_image"]),
        _say(units["nats_per_pixel"], 3),
        _say(units["bits_per_pixel"], 3),
    )
    for baseline, found in baselines.items():
        difference, verdict = found["difference"], VERDICTS[found["verdict"]]
        table.add_row(baseline, _say(found["nats_per_image"]), "", "", _say(difference), verdict)
    return table


def _completion(figures: dict[str, Any]) -> Table:
    title = "Completion: the lower rows, given those above"
    table = _table(title, "", "pixels", "the model", "counting mixture", "difference", "the model is")
    for name, found in figures.items():
        [mixture] = found["baselines"].values()
        cells = [_say(found["nats_per_image"]), _say(mixture["nats_per_image"]), _say(mixture["difference"])]
        label = name.replace("_percent", " %").replace("_", " ")
        table.add_row(label, str(found["pixels"]), *cells, VERDICTS[mixture["verdict"]])
    return table


def _parts(figures: dict[str, Any]) -> Table:
    table = _table("The bound, and how tight it is", "", "nats/image", "of")
    draws = f"{figures['draws']} draws of the noise an image"
    table.add_row("reconstruction", _say(figures["parts"]["reconstruction"]), draws)
    table.add_row("divergence", _say(figures["parts"]["divergence"]), "exact")
    found = figures["importance_weighted"]
    if found:
        of = f"{found['images']} images"
        table.add_row(f"IWAE-{found['samples']}", _say(found["nats_per_image"]), f"all images, by {of}")
        table.add_row("tighter than −ELBO by", _say(found["tighter_by"]), of)
    return table


def _latents(figures: dict[str, Any]) -> Table:
    found = figures["latents"]
    table = _table("Latents", "active", "of", "divergence of each, nats")
    each = " ".join(f"{nats:.2f}" for nats in found.get("divergence", []))
    table.add_row(str(found["active"]), str(found["all"]), each or "none: an auto-encoder has no penalty")
    return table


def _resemblance(figures: dict[str, Any]) -> list[Table]:
    table = _table("Samples as a whole, against test images", "", "samples", "training images")
    kernel = figures["kernel_distance"]
    table.add_row(
        "kernel distance ×1000 (lower is nearer)", _say(kernel["drawn"]), _say(kernel["training_images"])
    )
    table.add_row("  more than training images", _say(kernel["excess"]), "")
    for name in ("density", "coverage"):
        label = f"{name}, k = {figures['neighbours']}, {figures['images_compared']} images each"
        table.add_row(label, *(_say(figures[name][kind], 2) for kind in ("drawn", "training_images")))
    return [table]


def _memorisation(figures: dict[str, Any]) -> list[Table]:
    near, title = figures["near"], "Memory: the nearest training image (CIELAB a pixel)"
    table = _table(title, "", "samples", "test images", "training images", "validation images")
    kinds = ("drawn", "test", "training_images")
    table.add_row("median distance", *(_say(figures["median_distance"][kind]) for kind in kinds))
    shares = (f"{figures['share_nearer'][kind]:.1%}" for kind in kinds)
    table.add_row(f"nearer than {near:.1f}, the test images' 5 % quantile", *shares)
    table.add_row("exact copies", str(figures["copies"]))
    table.add_row(
        "chance to be nearer than a test image is", f"{figures['nearer_than_a_test_image']:.0%}", "50%"
    )
    preference = figures["nearest_is_training_image"]
    label = f"nearest is a training, not a test image (by chance {preference['by_chance']:.0%})"
    table.add_row(label, f"{preference['drawn']:.0%}", "", "", f"{preference['valid']:.0%}")
    return [table]


def _colours(figures: dict[str, Any]) -> list[Table]:
    table = _table("Colours", "", "samples", "training images", "test images")
    per_image, apart = figures["colours_per_image"], figures["histogram_divergence_bits"]
    table.add_row(
        "colours an image", *(_say(per_image[kind]) for kind in ("drawn", "training_images", "test"))
    )
    bits = (_say(apart[kind], 3) for kind in ("drawn", "training_images"))
    table.add_row("divergence from test images, bits", *bits, "0")
    return [table]


TABLES = {
    "likelihood": _likelihood,
    "bound": _bound,
    "resemblance": _resemblance,
    "memorisation": _memorisation,
    "colours": _colours,
}


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right")
    return table


def _say(figure: Estimate | float, digits: int = 1) -> str:
    if isinstance(figure, Estimate):
        return f"{figure.mean:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
    return f"{figure:.{digits}f}"
