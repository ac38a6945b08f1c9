"""The forms in which results are written: a PNG each, a zip of these, an .npz, a sheet, a GIF of the drawing."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, sqrt
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from PIL import Image as pillow

from smalti import media, npz
from smalti.cli.output import sheet, usual_scale, write_picture
from smalti.cli.places import Place
from smalti.client import Image, Job, SampleResult
from smalti.errors import InvalidRequest
from smalti.media import SHEET_SCALE
from smalti.pictures.formats import GIF, enlarged, moving, require_fit
from smalti.pixels import number_type

NPZ, ZIP = ".npz", ".zip"
_DRAWING_MS = 3000  # how long the rows take to appear
_SHOWN_MS = 2000  # how long the finished samples are shown
Writer = Callable[[Job, Iterator[SampleResult], Place, int | None], None]


def check(output: Place, job: Job, samples: int, *, scale: int | None, drawing: bool) -> None:
    """Raise InvalidRequest if so many samples cannot be written there in this form."""
    if drawing and (output.is_folder or output.form is not GIF):
        raise InvalidRequest("--drawing makes a moving picture: write it with -o FILE.gif.")
    if output.archive == NPZ and scale is not None:
        raise InvalidRequest("--scale is for pictures, and .npz holds the pixels as they were drawn.")
    if output.is_folder or output.archive:
        require_fit(job.width * (scale or 1), job.height * (scale or 1))
    elif samples:
        width, height = _sheet_size(job, samples, scale or 1)
        require_fit(width, height * (job.height + 1 if drawing else 1), output.form)


def writer_of(output: Place, *, drawing: bool) -> Writer:
    """What writes the results into this file."""
    if output.archive:
        return {NPZ: _write_npz, ZIP: _write_zip}[output.archive]
    return _write_drawing if drawing else _write_sheet


class Folder:
    """A folder with a PNG for each sample. Each file says which sample it holds, so those that are there are known."""

    def __init__(self, folder: Place, job: Job, wanted: range, scale: int | None) -> None:
        self._folder = folder
        self._job = job
        self._scale = scale or 1
        self.errors: dict[int, str] = {}
        names = self._names()
        self.arrived = {index for index in wanted if _name(index) in names and self._is_there(index)}

    def take(self, result: SampleResult) -> None:
        """Write the file of a finished sample."""
        if result.image is None:
            self.errors[result.index] = result.error
            return
        file = self._folder.file(_name(result.index))
        Place(path=file).write(_png(self._job, result, result.image, self._scale))
        self.arrived.add(result.index)

    def _names(self) -> frozenset[str]:
        folder = self._folder.path
        return (
            frozenset(path.name for path in folder.iterdir()) if folder and folder.is_dir() else frozenset()
        )

    def _is_there(self, index: int) -> bool:
        size, about = _read(self._folder.file(_name(index)))
        wanted = (self._job.width * self._scale, self._job.height * self._scale)
        return size == wanted and (about.get("job"), about.get("index")) == (self._job.id, index)


def _read(path: Path) -> tuple[tuple[int, int], dict[str, object]]:
    """The size of a PNG, and what it says about itself."""
    try:
        with pillow.open(path) as picture:
            about = json.loads(picture.info.get("smalti", "{}"))
            return picture.size, about if isinstance(about, dict) else {}
    except (OSError, ValueError, SyntaxError):  # no picture, or one that somebody else wrote
        return (0, 0), {}


def _name(index: int) -> str:
    return f"{index:05d}.png"


def _png(job: Job, result: SampleResult, image: Image, scale: int) -> bytes:
    about = {
        "job": job.id,
        "index": result.index,
        "model": job.model.name,
        "version": job.model.version,
        "seed": job.seed,
        "image": job.first_index + result.index,
        "log_probability": result.log_probability,
    }
    return media.encode(enlarged(image.picture(), scale), json.dumps(about))


def _finished(results: Iterable[SampleResult]) -> Iterator[tuple[SampleResult, Image]]:
    for result in results:
        if result.image is not None:
            yield result, result.image


def _write_zip(job: Job, results: Iterator[SampleResult], output: Place, scale: int | None) -> None:
    """The PNGs that a folder gets. They are compressed already."""
    with output.writing() as file, ZipFile(file, "w") as archive:
        for result, image in _finished(results):
            archive.writestr(ZipInfo(_name(result.index)), _png(job, result, image, scale or 1))


def _write_npz(job: Job, results: Iterator[SampleResult], output: Place, scale: int | None) -> None:
    with output.writing() as file:
        npz.write(file, _arrays(job, list(_finished(results))))


def _arrays(job: Job, finished: Sequence[tuple[SampleResult, Image]]) -> Iterator[npz.Array]:
    palette = finished[0][1].palette
    yield npz.Array(
        name="pixels",
        kind=number_type(len(palette)).replace("<u1", "|u1"),
        shape=(len(finished), job.height, job.width),
        parts=(image.indices for _, image in finished),
    )
    colours = [bytes.fromhex(colour[1:]) for colour in palette]
    yield npz.Array(name="palette", kind="|u1", shape=(len(palette), 3), parts=colours)
    yield npz.numbers("index", "<u8", [result.index for result, _ in finished])
    yield npz.numbers("log_probability", "<f8", [result.log_probability for result, _ in finished])
    yield npz.numbers("seed", "<u8", [job.seed])
    yield npz.numbers("first_index", "<u8", [job.first_index])
    yield npz.text("model", f"{job.model.name} version {job.model.version}")
    yield npz.text("job", job.id)


def _write_sheet(job: Job, results: Iterator[SampleResult], output: Place, scale: int | None) -> None:
    write_picture(sheet([image for _, image in _finished(results)]), output, scale, usual=SHEET_SCALE)


def _write_drawing(job: Job, results: Iterator[SampleResult], output: Place, scale: int | None) -> None:
    pictures = [image.picture() for _, image in _finished(results)]
    width, height = _sheet_size(job, len(pictures), 1)
    times = scale or usual_scale((width, height * (job.height + 1)), GIF, SHEET_SCALE)
    frames = media.drawing(pictures, columns=_columns(len(pictures)), scale=times)
    output.write(moving(frames, [_DRAWING_MS // job.height] * job.height + [_SHOWN_MS]))


def _columns(samples: int) -> int:
    return ceil(sqrt(samples))


def _sheet_size(job: Job, samples: int, scale: int) -> tuple[int, int]:
    columns = _columns(samples)
    rows = -(-samples // columns)
    return (columns * (job.width + 1) + 1) * scale, (rows * (job.height + 1) + 1) * scale
