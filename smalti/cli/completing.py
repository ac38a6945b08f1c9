"""The command `smalti complete`: hides a part of each picture and lets a PixelRNN draw it, once or several times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from smalti import media
from smalti.cli import inputs, options
from smalti.cli.connecting import connected
from smalti.cli.exit_codes import INTERRUPTED
from smalti.cli.output import (
    Saved,
    described,
    enlargement,
    plain,
    print_json,
    require_place,
    save_each,
    say,
    say_colour_change,
    usual_scale,
    write_picture,
    write_single,
)
from smalti.cli.places import Place
from smalti.cli.terminal import Canvas, canvas_of, moves_pictures
from smalti.cli.watching import CompletionView
from smalti.client import Client, Job, Model, ModelVersion
from smalti.client.completion import Completed, Unfinished, fetch, first_rows, indexed, queued
from smalti.errors import InvalidRequest
from smalti.pictures.fitting import Fit
from smalti.pictures.formats import require_fit
from smalti.pictures.report import Report

_LEAST_SIDE = 80  # screen pixels, of a picture on a sheet
_PATIENCE_SECONDS = 60.0  # while the server is away


@click.command()
@click.argument("model")
@options.pictures
@options.fit
@click.option(
    "--hidden",
    type=options.Number(0, 1, min_open=True),
    metavar="PART",
    help="Hide this lower part, such as 0.75. Default: 0.5, unless --rows or --mask is given.",
)
@options.rows
@options.mask
@click.option(
    "--draws",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Draws of each picture.",
)
@options.seed
@options.first_index
@options.temperature
@click.option("--labels", is_flag=True, help="Write names of pictures and draws on the sheet.")
@options.version
@options.output
@options.scale
@options.as_json
@connected
def complete(
    client: Client,
    model: str,
    pictures: tuple[Path, ...],
    how: Fit | None,
    hidden: float | None,
    rows: int | None,
    mask: Path | None,
    draws: int,
    seed: int | None,
    first_index: int,
    temperature: float,
    labels: bool,
    version: int,
    output: Place | None,
    scale: int | None,
    as_json: bool,
) -> None:
    """Hide a part of pictures and draw it with a PixelRNN.

    PICTURES are files, folders or zips. Unusable files in folders and zips are skipped and named (exit code 5).
    Hidden is the lower part (--hidden), everything below the first rows (--rows), or where --mask FILE is dark. The
    model draws from the top left, and each pixel depends only on pixels before it: pixels kept below have no effect.

    A FILE gets the draw enlarged if it is the only one. Several draws become a sheet, with a line for each picture: the
    original, its kept pixels, and every draw. In a FOLDER each draw is a file of its own.
    """
    described = client.model(model, version=version)
    kept = _kept(described.model, hidden, rows, mask, how)
    found = inputs.read(described.model, pictures, how)
    require_place(output, as_json=as_json)
    background = media.background_of(described.manifest.get("recipe") or {}, described.model.palette)
    unfinished = [
        Unfinished(name=stem, image=indexed(media.flat(image, background)), kept=kept)
        for stem, image in zip(inputs.stems(found.names), found.images, strict=True)
    ]
    if output is not None:
        _require_room(output, scale, described.model, pictures=len(unfinished), draws=draws)
    which = ModelVersion(described.model.name, described.model.version)
    drawing = queued(
        client, which, unfinished, draws=draws, seed=seed, first_index=first_index, temperature=temperature
    )
    console = Console(stderr=output is not None)
    is_hidden = as_json or (output is not None and not moves_pictures(console))
    try:
        with drawing as jobs:
            completed = [
                _follow(
                    client,
                    picture,
                    job,
                    described.model.palette,
                    console,
                    labels=labels,
                    hidden=is_hidden,
                )
                for picture, job in zip(unfinished, jobs, strict=True)
            ]
    except KeyboardInterrupt:
        say("\nStopped; all unfinished draws are cancelled.")
        raise SystemExit(INTERRUPTED) from None
    saved = None if output is None else _save(completed, output, labels=labels, scale=scale)
    _hand_over(completed, found.report, output, saved, as_json=as_json)
    inputs.report_skipped(found.report)


def _kept(model: Model, hidden: float | None, rows: int | None, mask: Path | None, how: Fit | None) -> bytes:
    """The kept pixels, as `Unfinished.kept`."""
    if sum(option is not None for option in (hidden, rows, mask)) > 1:
        raise InvalidRequest("Say what is kept in one way: --hidden PART, --rows N or --mask FILE.")
    if mask is not None:
        return inputs.mask(model, mask, how)
    if rows is None:
        rows = model.height - max(1, round(model.height * (0.5 if hidden is None else hidden)))
    if rows > model.height:
        raise InvalidRequest(f"--rows is {rows}, and {model.name} draws {model.height} rows.")
    return first_rows(rows, height=model.height, width=model.width)


def _require_room(output: Place, scale: int | None, model: Model, *, pictures: int, draws: int) -> None:
    """Raise InvalidRequest, before anything is drawn, if the result would be too large to write."""
    times, single = scale or 1, output.is_folder or pictures * draws == 1
    columns, rows = (
        (1, 1) if single else (draws + 2, pictures)
    )  # the original and its kept pixels stand before the draws
    gap = 0 if single else 1
    sides = [count * (side + gap) + gap for count, side in ((columns, model.width), (rows, model.height))]
    require_fit(sides[0] * times, sides[1] * times, output.form)


def _follow(
    client: Client,
    picture: Unfinished,
    job: Job,
    palette: tuple[str, ...],
    console: Console,
    *,
    labels: bool,
    hidden: bool,
) -> Completed:
    """Show a picture while it is drawn, and return it complete."""
    beside = [canvas_of(picture.image), canvas_of(picture.shown)]
    draws = [Canvas(job.height, job.width, palette) for _ in range(job.count)]
    title = picture.name if labels else ""
    with CompletionView(console, beside, draws, title=title, hidden=hidden) as view:
        for event in client.watch(job.id, rows=view.wants_rows, patience_seconds=_PATIENCE_SECONDS):
            view.show(event)
        completed = fetch(client, picture, job)
        view.finish(completed.images)
    return completed


def _hand_over(
    completed: Sequence[Completed],
    report: Report,
    output: Place | None,
    saved: Saved | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json(_summary(completed, output, saved) | inputs.skipped(report))
        return
    say_colour_change(inputs.total(each.job.colour_change for each in completed))
    if saved:
        say(f"Wrote {saved.words}.")
    say(f"Drawn with seed {completed[0].job.seed}{_likelihood(completed)}.")


def _likelihood(completed: Sequence[Completed]) -> str:
    """The log-probability of a single draw; --json prints those of several."""
    draws = [draw for each in completed for draw in each.draws]
    return f"; log-probability {draws[0].log_probability:.1f} nats" if len(draws) == 1 else ""


def _save(completed: Sequence[Completed], output: Place, *, labels: bool, scale: int | None) -> Saved:
    """Write the draws to the output."""
    draws = [draw for each in completed for draw in each.drawn]
    if output.is_folder:
        named = (
            (f"{each.picture.name}-{each.number(draw):05d}", image)
            for each in completed
            for draw, image in zip(each.draws, each.drawn, strict=True)
        )
        return save_each(named, output, scale)
    if len(draws) == 1:
        words = write_single(draws[0], output, scale)
    else:
        size = _sheet(completed, labels=labels, scale=1).size
        usual = usual_scale(_sheet(completed, labels=False, scale=1).size, output.form, _usual(completed))
        picture = _sheet(completed, labels=labels, scale=scale or usual)
        words = write_picture(picture, output, 1, usual=1) + enlargement(size, usual if scale is None else 1)
    return Saved([str(output)] * len(draws), words)


def _usual(completed: Sequence[Completed]) -> int:
    return max(1, -(-_LEAST_SIDE // completed[0].picture.image.width))


def _sheet(completed: Sequence[Completed], *, labels: bool, scale: int) -> Any:
    rows = [[image.picture() for image in each.images] for each in completed]
    draws = [f"draw {number}" for number in range(1, len(completed[0].draws) + 1)]
    return media.contact_sheet(
        rows,
        scale=scale,
        headings=["original", "shown", *draws] if labels else [],
        labels=[each.picture.name for each in completed] if labels else [],
    )


def _summary(completed: Sequence[Completed], output: Place | None, saved: Saved | None) -> dict[str, Any]:
    """The object that --json prints."""
    first = completed[0].job
    images = iter(described([image for each in completed for image in each.drawn], saved))
    pictures = [
        {
            "name": each.picture.name,
            "colour_change": plain(each.job.colour_change),
            "draws": [
                {"index": each.number(draw), "log_probability": draw.log_probability, "image": next(images)}
                for draw in each.draws
            ],
        }
        for each in completed
    ]
    where = None if output is None else str(output)
    return {"model": plain(first.model), "seed": first.seed, "output": where, "pictures": pictures}
