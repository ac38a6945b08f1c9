"""Thousands of calls with any bytes: a real server answers each clearly, and is afterwards as it was before.

`make fuzz CALLS=100000` makes more calls than `make slow` does.
"""

import re
from collections import Counter
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from PIL import Image as pillow

from server.inference import protocol
from smalti.client.health import ask
from tests.any_messages import CLEAR, NAMES, OWN, PROTOCOL, Rpc, requests
from tests.system.cluster import Cluster, until
from tests.system.conftest import DIGITS, TOY

GROWTH_MEGABYTES = (
    48  # of a server from the first calls to the last; a leak of 1 kB a call exceeds it within 50,000
)
Requests = dict[str, list[Any]]  # by the path of their RPC
_STREAM_SECONDS = 0.2
_CALL_SECONDS = 20.0
_TROUBLE = re.compile(r"Traceback|Exception|bug|rpc failed", re.IGNORECASE)


@pytest.mark.slow
@pytest.mark.timeout(12 * 3600)
def test_thousands_of_calls_with_any_bytes_leave_the_server_as_it_was(stormy: Cluster, calls: int):
    stormy.ready(workers=1)
    server = stormy.server
    assert server is not None
    with grpc.insecure_channel(stormy.address, [("grpc.enable_http_proxy", 0)]) as channel:
        seen: Counter[str] = Counter()
        valid = _valid_requests(channel)
        _send_many(stormy, channel, calls // 5, valid, seen)  # given a server with everything in use
        before = _megabytes(server.pid)
        _send_many(stormy, channel, calls, valid, seen)  # when thousands of strange requests come
    assert seen["OK"] > calls // 50  # then each is answered clearly,
    assert server.is_running
    trouble = [line for line in server.said().splitlines() if _TROUBLE.search(line)]
    assert not trouble  # nothing was unexpected,
    assert _megabytes(server.pid) - before < GROWTH_MEGABYTES  # nothing was left behind,
    _still_works(stormy)  # and the server goes on


def _send_many(cluster: Cluster, channel: Any, calls: int, valid: Requests, seen: Counter[str]) -> None:
    """Send the same number of calls to every RPC; fail at the first unclear status, with the shortest such request."""
    rpcs = [*OWN, *PROTOCOL]
    for rpc in rpcs:
        _load_again(cluster)
        _send_to(rpc, channel, max(1, calls // len(rpcs)), valid, seen)


def _send_to(rpc: Rpc, channel: Any, calls: int, valid: Requests, seen: Counter[str]) -> None:
    @settings(max_examples=calls, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=requests(rpc, valid.get(rpc.path, ())))
    def send(data: bytes) -> None:
        code = _send(channel, rpc, data)
        assert code in CLEAR | {"OK"}, f"{rpc.name} of {data!r}"
        seen[code] += 1

    send()


def _send(channel: Any, rpc: Rpc, data: bytes) -> str:
    try:
        if rpc.method.client_streaming:
            _ = list(channel.stream_stream(rpc.path)(iter([data, data]), timeout=_STREAM_SECONDS))
        elif rpc.method.server_streaming:
            _ = list(channel.unary_stream(rpc.path)(data, timeout=_STREAM_SECONDS))
        else:
            channel.unary_unary(rpc.path)(data, timeout=_CALL_SECONDS)
    except grpc.RpcError as error:
        call: Any = error
        return str(call.code().name) if call.details() else "A STATUS WITHOUT A WORD"
    return "OK"


def _valid_requests(channel: Any) -> Requests:
    """Requests that the server answers, by the path of their RPC."""
    found = {rpc.path: [_of_model(rpc, "digits-vae"), _of_model(rpc, DIGITS)] for rpc in OWN}
    infer = [
        request
        for name in NAMES
        if (metadata := _metadata(channel, name)) is not None
        for request in (_infer(name, metadata, 1), _infer(name, metadata, 2))
    ]
    return found | {f"/{protocol.SERVICE}/{name}": infer for name in ("ModelInfer", "ModelStreamInfer")}


def _of_model(rpc: Rpc, name: str) -> Any:
    request = rpc.request()
    for field in request.DESCRIPTOR.fields:
        if field.name == "model" and field.message_type:
            request.model.name = name
        elif field.name == "model":
            request.model = name
        elif field.name == "name":
            request.name = name
        elif field.name == "count":
            request.count = 2
        elif field.name == "images":
            request.images.add(png=_A_DIGIT)
        elif field.name == "latents":
            request.latents.add(values=[0.5] * 10)
    return request


def _metadata(channel: Any, name: str) -> Any:
    """What the protocol says of a model; None if there is no model of this name."""
    by_name = {rpc.method.name: rpc for rpc in PROTOCOL}
    rpc = by_name["ModelMetadata"]
    answer = GetMessageClass(rpc.method.output_type)
    try:
        return channel.unary_unary(rpc.path, response_deserializer=answer.FromString)(
            rpc.request(name=name).SerializeToString()
        )
    except grpc.RpcError:
        return None


def _infer(name: str, metadata: Any, entries: int) -> Any:
    [rpc] = (rpc for rpc in PROTOCOL if rpc.method.name == "ModelInfer")
    request = rpc.request(model_name=name)
    for tensor in metadata.inputs:
        shape = [entries if size < 0 else size for size in tensor.shape]
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        width = _BYTES_OF.get(tensor.datatype, 4)
        request.raw_input_contents.append(bytes(prod(shape) * width))
    return request


def _megabytes(pid: int) -> float:
    [line] = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) / 1024


def _still_works(cluster: Cluster) -> None:
    _load_again(cluster)
    assert len(cluster.client.draw("digits-vae", count=3).images) == 3
    until(lambda: ask(cluster.address) == "SERVING")


def _load_again(cluster: Cluster) -> None:
    """Load what a call may have unloaded."""
    for name in ("digits-vae", DIGITS, TOY):
        cluster.client.load(name)


def _png(size: int) -> bytes:
    file = BytesIO()
    pillow.new("L", (size, size), 80).save(file, "PNG")
    return file.getvalue()


_A_DIGIT = _png(8)
_BYTES_OF = {"INT64": 8, "UINT64": 8, "FP64": 8, "FP16": 2, "BOOL": 1, "UINT8": 1}
