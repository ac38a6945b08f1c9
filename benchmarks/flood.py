"""What a flood of ten times the capacity does to those whom the server admits: `python -m benchmarks.flood`."""

import asyncio
import io
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import click
import grpc
import numpy as np
from PIL import Image as Pillow

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.quantiles import milliseconds
from benchmarks.running_server import decode_request, run_server
from smalti.client.failures import from_rpc
from smalti.errors import Busy
from smalti.v1 import images_pb2, images_pb2_grpc, types_pb2

_OPTIONS = [("grpc.enable_http_proxy", 0)]
_PROBES = 2  # requests of the process that measures; the others load the server
_PAUSE_SECONDS = 0.02  # of a probe after a refusal
_MULTIPLE = 10
_SETTLING_SECONDS = 1.0  # until the load is what it shall be


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of requests, and the setting that says how many of them the server has at once."""

    model: str
    method: str
    request: Callable[[], Any]
    at_once: int
    settings: dict[str, str]


@dataclass(slots=True)
class Seen:
    """Seconds that a probe waited for answers and for refusals."""

    answers: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Milliseconds, and counts of the probes' requests."""

    answered: int
    answer_p50: float
    answer_p99: float
    refused: int
    refusal_p50: float
    refusal_p99: float


@click.command(cls=Benchmark)
@click.option("--seconds", default=8.0, show_default=True, help="For each load.")
@click.option("--kind", "names", multiple=True, default=("small", "pictures"), show_default=True)
@click.option(
    "--calls", default=64, show_default=True, help="Small requests that the server answers at once."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(seconds: float, names: tuple[str, ...], calls: int, file: Path | None) -> None:
    """Load a server with nothing, with as much as it admits, and with ten times that, and measure beside it.

    Another process loads it, and waits as long as refusals say. All run on the same cores, so only ratios count.
    """
    click.echo(machine.headline())
    found = {name: _measure(_kinds(calls)[name], name, seconds) for name in names}
    machine.write(file, {"kinds": found})


def _kinds(calls: int) -> dict[str, Kind]:
    return {
        "small": Kind(
            model="digits-vae",
            method="Decode",
            request=lambda: decode_request("digits-vae", 10),
            at_once=calls,
            settings={"SMALTI_MAX_CALLS": str(calls)},
        ),
        # The room holds three such requests, whatever their size: each counts for a quarter of it.
        "pictures": Kind(
            model="sprites-vae",
            method="Encode",
            request=lambda: _noisy("sprites-vae", side=20, count=64),
            at_once=3,
            settings={"SMALTI_MAX_PICTURE_PIXELS": str(4 * 64 * 400)},
        ),
    }


def _measure(kind: Kind, name: str, seconds: float) -> dict[str, Any]:
    with _repository(kind.model) as folder, run_server(others=kind.settings | folder) as (address, _):
        loads = {"alone": 0, "full": kind.at_once - _PROBES, "flood": _MULTIPLE * kind.at_once}
        found = {load: _under(address, kind, name, in_flight, seconds) for load, in_flight in loads.items()}
    for load, figures in found.items():
        _print(name, load, loads[load], figures)
    ratio = {load: found["flood"].answer_p99 / found[load].answer_p99 for load in ("alone", "full")}
    click.echo(
        f"{name}: p99 of answers in the flood is {ratio['full']:.1f} × that of a full server, "
        f"{ratio['alone']:.1f} × that of an idle one"
    )
    return {load: asdict(figures) for load, figures in found.items()} | {"ratio": ratio}


@contextmanager
def _repository(model: str) -> Iterator[dict[str, str]]:
    """The setting for a repository with this model alone: the server starts sooner."""
    with TemporaryDirectory() as folder:
        copytree(Path("model_repository") / model, Path(folder) / model)
        yield {"SMALTI_MODEL_REPOSITORY": folder}


def _under(address: str, kind: Kind, name: str, in_flight: int, seconds: float) -> Figures:
    """What probes see while another process keeps so many requests in flight."""
    context = multiprocessing.get_context("spawn")  # gRPC must not be forked
    begun, over = context.Event(), context.Event()
    loading = context.Process(target=_load, args=(address, name, kind.at_once, in_flight, begun, over))
    loading.start()
    begun.wait()
    try:
        return _figures(asyncio.run(_probe(address, kind, seconds)))
    finally:
        over.set()
        loading.join()


def _load(address: str, name: str, calls: int, in_flight: int, begun: Event, over: Event) -> None:
    """In a process of its own: keep so many requests in flight; refused ones come again when they may."""
    asyncio.run(_keep_in_flight(address, _kinds(calls)[name], in_flight, begun, over))


async def _keep_in_flight(address: str, kind: Kind, in_flight: int, begun: Event, over: Event) -> None:
    request = kind.request()
    async with grpc.aio.insecure_channel(address, _OPTIONS) as channel:
        call = getattr(images_pb2_grpc.ImageServiceStub(channel), kind.method)
        await _refused(call, request)  # opens the connection
        begun.set()

        async def repeat() -> None:
            while not over.is_set():  # noqa: ASYNC110  # another process sets it
                await asyncio.sleep(await _refused(call, request))

        await asyncio.gather(*(repeat() for _ in range(in_flight)))


async def _refused(call: Any, request: Any) -> float:
    """The delay that a refusal asks for; 0 for an answer."""
    try:
        await call(request)
    except grpc.aio.AioRpcError as error:
        refusal = from_rpc(error, "the server")
        if not isinstance(refusal, Busy):
            raise
        return refusal.retry_seconds
    return 0.0


async def _probe(address: str, kind: Kind, seconds: float) -> Seen:
    seen, request = Seen(), kind.request()
    async with grpc.aio.insecure_channel(address, _OPTIONS) as channel:
        call = getattr(images_pb2_grpc.ImageServiceStub(channel), kind.method)
        await _refused(call, request)  # opens the connection
        await asyncio.sleep(_SETTLING_SECONDS)
        end = perf_counter() + seconds

        async def repeat() -> None:
            while (start := perf_counter()) < end:
                delay = await _refused(call, request)
                (seen.refusals if delay else seen.answers).append(perf_counter() - start)
                await asyncio.sleep(_PAUSE_SECONDS if delay else 0)

        await asyncio.gather(*(repeat() for _ in range(_PROBES)))
    return seen


def _figures(seen: Seen) -> Figures:
    return Figures(
        answered=len(seen.answers),
        answer_p50=milliseconds(seen.answers, 0.5),
        answer_p99=milliseconds(seen.answers, 0.99),
        refused=len(seen.refusals),
        refusal_p50=milliseconds(seen.refusals, 0.5),
        refusal_p99=milliseconds(seen.refusals, 0.99),
    )


def _print(name: str, load: str, in_flight: int, found: Figures) -> None:
    click.echo(
        f"{name:8} {load:5} {in_flight + _PROBES:4} in flight"
        f"  {found.answered:5} answers p50 {found.answer_p50:7.2f} ms p99 {found.answer_p99:7.2f} ms"
        f"  {found.refused:5} refusals p50 {found.refusal_p50:6.2f} ms p99 {found.refusal_p99:6.2f} ms"
    )


def _noisy(model: str, *, side: int, count: int) -> images_pb2.EncodeRequest:
    """A request to encode pictures of noise: nothing is slower to match."""
    noise = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return images_pb2.EncodeRequest(
        model=types_pb2.ModelVersion(name=model), images=[types_pb2.Image(png=_png(each)) for each in noise]
    )


def _png(colours: Any) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(colours).save(stream, "PNG")
    return stream.getvalue()


if __name__ == "__main__":
    main()
