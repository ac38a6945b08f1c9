"""`python -m training.data.sprites SOURCE [OUTPUT]`: makes `sprites.zip`, the training data of the shipped models.

The sprites are the monsters among Dungeon Crawl Stone Soup's tiles, release Nov-2015, which its artists published under
CC0. `sprites.txt` lists them by the first digits of their SHA-256, so that they are found in any folder or archive,
under any name. Nothing else is taken, because its licence may be different.
"""

import hashlib
import lzma
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

from smalti.errors import SmaltiError
from smalti.pictures import archive, finding
from smalti.pictures.report import named
from smalti.printable import escaped
from training.data import provenance
from training.errors import DataRefused

LIST = Path(__file__).with_name("sprites.txt")  # on each line: the start of a file's SHA-256, and its name
DATE = (2015, 11, 1, 0, 0, 0)  # date of every entry in the zip, so that the same pictures make the same file
DIGITS = 16
# What the archive readers raise for archives that are damaged, encrypted or of an unknown kind.
DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, tarfile.TarError, zipfile.BadZipFile),
    *(zlib.error, lzma.LZMAError),
)
LARGEST = 1 << 20  # bytes; all pictures on the list are far smaller
WHERE = (
    "all of them are in https://github.com/crawl/tiles (git clone it, or download its zip); "
    "`apt-get source --download-only crawl` gets most of them (Debian, with deb-src in its sources)"
)


@click.command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.argument("output", default="sprites.zip", type=click.Path(path_type=Path))
def main(source: Path | None, output: Path) -> None:
    """Write the sprites found in SOURCE (a folder, .zip or .tar of Dungeon Crawl's tiles) to OUTPUT, a zip.

    For your own pictures you do not need it: `python -m training RECIPE --data FOLDER` takes any folder or zip.
    """
    try:
        if source is None:
            raise DataRefused(f"Say where Dungeon Crawl's tiles are: {WHERE}.")
        found, unread = find(source)
        write(found, output)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    if unread:
        click.echo(f"{len(unread)} pictures could not be read: {named(unread)}.", err=True)
    click.echo(f"{len(found)} of {len(listed())} sprites to {output}; {_known(output)}")


def listed() -> dict[str, str]:
    """The sprites' names by the start of their SHA-256."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {line[:DIGITS]: line[DIGITS + 1 :] for line in lines}


def find(source: Path) -> tuple[dict[str, bytes], list[str]]:
    """The sprites in a folder, zip or tar by name, and the pictures that cannot be read, each with the reason.

    Raises DataRefused if there is no sprite.
    """
    names = listed()
    found: dict[str, bytes] = {}
    unread: list[str] = []
    try:
        for label, read in _pictures(source):
            try:
                content = read()
            except (finding.FileRefused, archive.ArchiveRefused) as error:
                unread.append(escaped(f"{label} {error}"))
                continue
            if name := names.get(hashlib.sha256(content).hexdigest()[:DIGITS]):
                found[name] = content
    except archive.ArchiveRefused as error:
        raise DataRefused(f"{source} {error}.") from error
    except DAMAGE as error:
        raise DataRefused(f"{source} cannot be read as a folder, zip or tar: {WHERE}.") from error
    if not found:
        why = f" that can be read ({named(unread)})" if unread else ""
        raise DataRefused(f"{source} contains none of the sprites{why}: {WHERE}.")
    return found, unread


def write(sprites: dict[str, bytes], output: Path) -> None:
    """Write a zip of the sprites; the same sprites give the same bytes. Raises DataRefused."""
    temporary = output.with_name(f"{output.name}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target:
            for name in sorted(sprites):
                target.writestr(zipfile.ZipInfo(f"sprites/{name}", DATE), sprites[name])
        temporary.replace(output)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataRefused(f"{output} cannot be written: {error.strerror}.") from error


def _pictures(source: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The files that may be on the list: the name of each, and a function that reads it."""
    if source.is_dir():
        for file in sorted(source.rglob("*")):
            if _may_be(file.name) and file.is_file() and file.stat().st_size <= LARGEST:
                yield str(file), partial(finding.read_file, file, LARGEST)
    elif zipfile.is_zipfile(source):
        with archive.opened(source) as entries:
            for entry in entries:
                if _may_be(entry.name) and entry.info.file_size <= LARGEST:
                    yield entry.name, partial(entry.read, LARGEST)
    else:
        with tarfile.open(source) as tar:
            for member in tar:
                if member.isfile() and _may_be(member.name) and member.size <= LARGEST:
                    yield member.name, partial(_unpacked, tar, member)


def _may_be(name: str) -> bool:
    return name.lower().endswith(".png")


def _unpacked(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None, "a file has content"
    return stream.read()


def _known(output: Path) -> str:
    if hashlib.sha256(output.read_bytes()).hexdigest() in provenance.KNOWN:
        return "exactly the file that the shipped models were trained on (CC0)"
    return "not all that the shipped models were trained on, so use it to train and measure your own models (CC0)"


if __name__ == "__main__":
    sys.exit(main())
