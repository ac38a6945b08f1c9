"""Every method of Triton's two clients is answered as its documentation says."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from tests.server.inference.test_inferring import DECODE

SECONDS = 60.0
ELSEWHERE = {
    *("infer", "async_infer", "start_stream", "async_stream_infer", "stop_stream", "stream_infer", "close"),
    *("plugin", "register_plugin", "unregister_plugin"),  # these ask no server
    *("register_system_shared_memory", "register_cuda_shared_memory"),  # test_shared_memory.py
}


class Call(NamedTuple):
    """A call of a method, and what its answer, as JSON if the method gives it, has."""

    arguments: tuple[Any, ...]
    is_right: Callable[[Any], bool]


CALLS = {
    "is_server_live": Call((), lambda answer: answer is True),
    "is_server_ready": Call((), lambda answer: answer is True),
    "is_model_ready": Call((DECODE, "1"), lambda answer: answer is True),
    "get_server_metadata": Call((), lambda answer: answer["name"] == "smalti"),
    "get_model_metadata": Call((DECODE,), lambda answer: answer["versions"] == ["1"]),
    "get_model_config": Call((DECODE, "1"), lambda answer: answer["config"]["name"] == DECODE),
    "get_model_repository_index": Call((), lambda answer: {"name": DECODE} in map(_name, answer["models"])),
    "get_inference_statistics": Call((DECODE,), lambda answer: len(answer["model_stats"]) == 1),
    "get_trace_settings": Call((DECODE,), lambda answer: _values(answer, "trace_level") == ["OFF"]),
    "update_trace_settings": Call(
        (DECODE, {"trace_rate": "7"}), lambda answer: _values(answer, "trace_rate") == ["7"]
    ),
    "get_log_settings": Call((), lambda answer: answer["settings"]["log_info"] == {"bool_param": True}),
    "update_log_settings": Call(
        ({"log_verbose_level": 1},),
        lambda answer: answer["settings"]["log_verbose_level"] == {"uint32_param": 1},
    ),
    "get_system_shared_memory_status": Call((), lambda answer: answer == {}),
    "get_cuda_shared_memory_status": Call((), lambda answer: answer == {}),
    "unregister_system_shared_memory": Call((), lambda answer: answer is None),
    "unregister_cuda_shared_memory": Call((), lambda answer: answer is None),
    "unload_model": Call((DECODE,), lambda answer: answer is None),
    "load_model": Call((DECODE,), lambda answer: answer is None),
}


def _name(entry: dict[str, str]) -> dict[str, str]:
    return {"name": entry["name"]}


def _values(answer: Any, setting: str) -> list[str]:
    values: list[str] = answer["settings"][setting]["value"]
    return values


def methods_of(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


@pytest.fixture(params=["blocking", "asynchronous"])
def ask(request, client, blocking_client) -> Callable[..., Any]:
    """Calls a method of one of the two clients."""

    async def call(name: str, *arguments: Any, **options: Any) -> Any:
        if request.param == "asynchronous":
            return await getattr(client, name)(*arguments, **options)
        return await asyncio.to_thread(getattr(blocking_client, name), *arguments, **options)

    return call


@pytest.mark.parametrize("kind", [triton.InferenceServerClient, triton_aio.InferenceServerClient])
def test_no_method_is_left_out(kind):
    assert not methods_of(kind) - CALLS.keys() - ELSEWHERE


async def test_every_method_is_answered(ask):
    for name, (arguments, is_right) in CALLS.items():
        method = getattr(triton.InferenceServerClient, name)
        as_json = {"as_json": True} if "as_json" in inspect.signature(method).parameters else {}
        answer = await ask(name, *arguments, client_timeout=SECONDS, **as_json)
        assert is_right(answer), (name, answer)
