"""What it costs to find the client of a token, by the number of clients: `python -m benchmarks.admission`."""

import secrets
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from timeit import repeat

import click

from benchmarks import machine
from benchmarks.command import Benchmark
from server.security.admission import Admission
from server.security.tokens import Tokens

_PATH = "/smalti.v1.JobService/Get"
_CALLS = 100  # in a repetition


@click.command(cls=Benchmark)
@click.option("--clients", "counts", multiple=True, type=int, default=(1, 100, 1000), show_default=True)
@click.option(
    "--repetitions", type=click.IntRange(1), default=20, show_default=True, help="The best one counts."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(counts: tuple[int, ...], repetitions: int, file: Path | None) -> None:
    """Let an RPC in, again and again, with a file of tokens that has so many clients."""
    click.echo(machine.headline())
    found = {str(count): _microseconds(count, repetitions) for count in counts}
    for count, microseconds in found.items():
        click.echo(f"{count:>5} clients  {microseconds:7.1f} µs of CPU time a call")
    machine.write(file, {"microseconds": found})


def _microseconds(clients: int, repetitions: int) -> float:
    token = secrets.token_urlsafe(32)
    metadata = [("authorization", f"Bearer {token}")]
    with TemporaryDirectory() as folder:
        admission = Admission(Tokens(_file(Path(folder), token, clients)))
        seconds = repeat(
            lambda: admission.admit(_PATH, metadata), number=_CALLS, repeat=repetitions, timer=process_time
        )
    return 1e6 * min(seconds) / _CALLS


def _file(folder: Path, token: str, clients: int) -> Path:
    """A file of tokens; the token's client is the last one."""
    tokens = [*(secrets.token_urlsafe(32) for _ in range(clients - 1)), token]
    tables = (
        f'[client{number}]\ngroups = ["jobs"]\nsha256 = "{sha256(each.encode()).hexdigest()}"\n'
        for number, each in enumerate(tokens)
    )
    file = folder / "tokens.toml"
    file.write_text("".join(tables))
    return file


if __name__ == "__main__":
    main()
