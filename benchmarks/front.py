"""What gRPC itself costs a call, by the server's own front and by grpc.aio: `python -m benchmarks.front`."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import grpc

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.running_server import decode_request
from benchmarks.server_processes import measure
from server.gate import Gate
from server.http2.connection import Limits
from server.http2.server import Server
from server.reserving import bind
from smalti.address import parse_address
from smalti.v1 import images_pb2, types_pb2

_SERVICE, _ANSWER_BYTES = "smalti.v1.ImageService", 4800


def _handlers() -> dict[str, Any]:
    """Answers every Decode with the same picture, and does nothing for it."""
    answer = images_pb2.DecodeResponse(images=[types_pb2.Image(png=bytes(_ANSWER_BYTES))])

    async def decode(request: Any, context: Any) -> Any:
        return answer

    parse, write = images_pb2.DecodeRequest.FromString, images_pb2.DecodeResponse.SerializeToString
    return {"Decode": grpc.unary_unary_rpc_method_handler(decode, parse, write)}


async def _with_front() -> tuple[Any, int]:
    server = Server(Gate().answer, Limits(calls=1024, message_bytes=1 << 22, keepalive_seconds=20))
    server.add_registered_method_handlers(_SERVICE, _handlers())
    port, sockets = bind(parse_address("127.0.0.1:0", first_port=0))
    server.listen(sockets)
    await server.start()
    return server, port


async def _with_grpc_aio() -> tuple[Any, int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, _handlers())])
    port: int = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


FRONTS: Mapping[str, Callable[[], Awaitable[tuple[Any, int]]]] = {
    "server.http2": _with_front,
    "grpc.aio": _with_grpc_aio,
}


@click.command(cls=Benchmark)
@click.option("--seconds", default=4.0, show_default=True, help="For each number of calls in flight.")
@click.option("--in-flight", "levels", multiple=True, type=int, default=(1, 16, 64), show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(seconds: float, levels: tuple[int, ...], file: Path | None) -> None:
    """Both servers parse each request and answer with 4.8 kB; server.http2 has the server's gate around it, too."""
    click.echo(machine.headline())
    found: dict[str, dict[str, float]] = {}
    for name in FRONTS:
        with _running(name) as (address, process):
            for level in levels:
                request = decode_request("none", 10)
                figures = asyncio.run(measure(address, process, request, level, seconds))
                found[f"{name} {level}"] = figures
                click.echo(
                    f"{name:<12}  {level:>3} in flight  {figures['requests_per_second']:6.0f} calls/s  "
                    f"{1000 * figures['server_cpu_milliseconds_per_request']:4.0f} µs of CPU time a call"
                )
    machine.write(file, {"fronts": found})


@contextmanager
def _running(name: str) -> Iterator[tuple[str, int]]:
    """The address and the process of a server that runs in a process of its own."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(name, there), daemon=True)
    process.start()
    try:
        yield f"127.0.0.1:{here.recv()}", int(process.pid or os.getpid())
    finally:
        process.kill()
        process.join()


def _serve(name: str, parent: Connection) -> None:
    async def serve() -> None:
        _server, port = await FRONTS[name]()  # kept, or it would end
        parent.send(port)
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
