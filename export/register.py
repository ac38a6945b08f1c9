"""`python -m export.register FILE --name NAME`: puts any ONNX file into the model repository, with its manifest."""

import stat
import sys
from pathlib import Path

import click

from export.errors import ExportRefused
from export.publishing import next_version, publish, seal
from smalti.errors import SmaltiError
from smalti.runtime import describing, inventory, repository
from smalti.runtime.folder import LARGEST_FILE
from smalti.runtime.manifest import MANIFEST, Manifest, Tensor
from smalti.runtime.names import TENSORS_GRAPH
from smalti.runtime.repository import ModelRepository
from training import arguments

_FILE = "model.onnx"  # its name in the repository


@click.command()
@click.argument("file", type=arguments.Place())
@click.option("--name", required=True, help="The model's name: letters, digits, '.', '-' and '_'.")
@click.option("--version", type=click.IntRange(1), help="By default the next free one.")
@arguments.repository
@click.option(
    "--unbatched", is_flag=True, help="Each request is one run, even if the first axis has any size."
)
def main(file: Path, name: str, version: int | None, root: Path, unbatched: bool) -> None:
    """Put the ONNX FILE into the repository; a server then answers for it by the Open Inference Protocol.

    Weights in other files must lie beside FILE; they are copied, too.
    """
    try:
        folder = register(file, root, name=name, version=version, unbatched=unbatched)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    click.echo(_described(folder))


def register(
    file: Path, root: Path, *, name: str, version: int | None = None, unbatched: bool = False
) -> Path:
    """Put an ONNX file into the repository under `root` as a version, by default the next free one; returns its folder.

    Raises ExportRefused; the repository then stays as it was.
    """
    contents = _contents(file)
    models = ModelRepository(root)
    number = version or next_version(root, name)
    try:
        manifest = describing.manifest_of(
            _FILE, contents, name=name, version=number, batched=False if unbatched else None
        )
    except ValueError as error:
        raise ExportRefused(f"{file} cannot be served: {error}.") from error
    _refuse_files_of_others(models, name, number)
    [folder] = publish(lambda place: [_write(place, manifest, contents)], root)
    return folder


def _contents(file: Path) -> dict[str, bytes]:
    """The file and those with its weights, by their names in the repository."""
    graph = _read(file)
    try:
        names = describing.weights_of(graph)
    except ValueError as error:
        raise ExportRefused(f"{file} cannot be served: {error}.") from error
    for name in {_FILE, MANIFEST}.intersection(names):
        raise ExportRefused(
            f"{file}: it keeps weights in '{name}', a name with another meaning in the repository."
        )
    return {_FILE: graph, **{name: _read(file.parent / name) for name in names}}


def _read(file: Path) -> bytes:
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise ExportRefused(f"{file} is not a file.")
        if status.st_size > LARGEST_FILE:
            raise ExportRefused(f"{file} is larger than {LARGEST_FILE} bytes, which no server reads.")
        return file.read_bytes()
    except OSError as error:
        raise ExportRefused(f"{file} cannot be read: {error.strerror}.") from error


def _refuse_files_of_others(models: ModelRepository, name: str, version: int) -> None:
    """Raise ExportRefused if an ONNX file without a manifest has this place, or would not be served any more."""
    folder = models.root / name
    if 1 in models.models().get(name, ()) and inventory.folder_of(models.root, name, 1) == folder:
        raise ExportRefused(
            f"{folder} has an ONNX file outside a version's folder: move it into {folder / '1'} first."
        )
    if (folder / str(version)).exists() and not models.has_manifest(name, version):
        raise ExportRefused(f"{folder / str(version)} exists and has no manifest: take another --version.")


def _write(place: Path, manifest: Manifest, contents: dict[str, bytes]) -> Path:
    folder = place / manifest.name / str(manifest.version)
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    seal(folder, manifest)
    return folder


def _described(folder: Path) -> str:
    manifest = repository.read(folder).manifest
    graph = manifest.graph(TENSORS_GRAPH)
    inputs, outputs = (", ".join(map(_spelled, each)) for each in (graph.inputs, graph.outputs))
    how = "batched" if graph.is_batched else "not batched, so each request is one run"
    return (
        f"{folder}: {inputs} → {outputs}; {how}\n"
        f"A server that runs with SMALTI_MODEL_REPOSITORY={folder.parent.parent} serves {manifest.name} within seconds."
    )


def _spelled(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.type}[{','.join(map(str, tensor.shape))}]"


if __name__ == "__main__":
    sys.exit(main())
