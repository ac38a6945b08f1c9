"""Makes what the comparison needs besides smalti: an environment for each other server, and perf_analyzer.

MLServer and PyTriton need versions of packages that smalti does not have, so each gets a virtual environment.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import click

_HERE = Path(__file__).parent
# This tritonclient is the last one with perf_analyzer.
_WHEELS = ("tritonclient==2.43.0", "nvidia-cuda-runtime-cu12==12.9.79")
_PIP = [sys.executable, "-m", "pip"]
_PLATFORM = ["--only-binary=:all:", "--platform", "manylinux1_x86_64", "--platform", "manylinux2014_x86_64"]


def python_of(peer: str, folder: Path) -> Path:
    """The Python of a peer's environment, which is made if it is not there."""
    place = folder / peer
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        click.echo(f"Installing {peer} into {place}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        requirements = _HERE / f"requirements-{peer}.txt"
        _run([python, "-m", "pip", "install", "--quiet", "-r", requirements])
        (place / "complete").touch()
    return python


def perf_analyzer(folder: Path) -> tuple[Path, Path]:
    """The program, and the folder of the CUDA runtime that it is linked with. It needs Debian's libb64-0d."""
    place = folder / "perf_analyzer"
    if not (place / "complete").exists():
        click.echo(f"Fetching perf_analyzer into {place}")
        shutil.rmtree(place, ignore_errors=True)
        for wheel in _WHEELS:
            _unpack(wheel, place)
        (place / "complete").touch()
    [program] = place.glob("tritonclient-*.data/data/bin/perf_analyzer")
    program.chmod(0o755)
    return program, place / "nvidia" / "cuda_runtime" / "lib"


def _unpack(wheel: str, place: Path) -> None:
    """Download a wheel and extract its files."""
    _run([*_PIP, "download", "--quiet", "--no-deps", *_PLATFORM, "-d", place, wheel])
    for file in place.glob("*.whl"):
        zipfile.ZipFile(file).extractall(place)
        file.unlink()


def _run(command: list[str | Path]) -> None:
    done = subprocess.run([*map(str, command), "--disable-pip-version-check"], check=False)
    if done.returncode:
        raise click.ClickException(f"This command failed: {' '.join(map(str, command))}")
