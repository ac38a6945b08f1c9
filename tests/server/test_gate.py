"""The gate around a small service with all four kinds of methods."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from structlog.testing import capture_logs

from server.calls import CallLimits, Calls
from server.gate import Gate
from server.http2.connection import Limits
from server.http2.server import Server
from server.reserving import bind
from smalti.address import parse_address
from smalti.client.failures import from_rpc
from smalti.errors import InternalError, ModelNotFound
from smalti.runtime.metrics import RPC_SECONDS, RPCS_IN_PROGRESS
from tests.server.conftest import refused

SERVICE = "test.Words"
UNKNOWN, BUG, WAIT = "unknown", "bug", "wait"
METHODS = ("Repeat", "Spell", "Join", "Shout")
STREAMS_REQUESTS = {"Join", "Shout"}
MALFORMED = b"\xff\xff\xff"


class Words:
    """Fails on some words, and waits on another until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.cleaned_up = 0

    async def _check(self, word: str) -> str:
        if word == UNKNOWN:
            raise ModelNotFound("There is no such word.")
        if word == BUG:
            raise KeyError("mistyped")
        if word == WAIT:
            await self.release.wait()
        return word

    async def repeat(self, request: StringValue, context: Any) -> StringValue:
        return StringValue(value=await self._check(request.value))

    async def spell(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        for letter in await self._check(request.value):
            yield StringValue(value=letter)

    async def join(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        return StringValue(value=" ".join([await self._check(each.value) async for each in requests]))

    async def shout(self, requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
        try:
            async for request in requests:
                yield StringValue(value=(await self._check(request.value)).upper())
        finally:
            self.cleaned_up += 1

    def handlers(self) -> dict[str, Any]:
        kinds: dict[str, tuple[Any, Any]] = {
            "Repeat": (grpc.unary_unary_rpc_method_handler, self.repeat),
            "Spell": (grpc.unary_stream_rpc_method_handler, self.spell),
            "Join": (grpc.stream_unary_rpc_method_handler, self.join),
            "Shout": (grpc.stream_stream_rpc_method_handler, self.shout),
        }
        return {
            name: make(method, StringValue.FromString, StringValue.SerializeToString)
            for name, (make, method) in kinds.items()
        }


class Guarded:
    """The service behind a gate, and calls of its methods."""

    def __init__(self, gate: Gate, words: Words, server: Server, channel: grpc.aio.Channel) -> None:
        self.gate, self.words, self.server = gate, words, server
        kinds: dict[str, Any] = {
            "Repeat": channel.unary_unary,
            "Spell": channel.unary_stream,
            "Join": channel.stream_unary,
            "Shout": channel.stream_stream,
        }
        self.channel = channel
        self._methods = {
            name: kind(f"/{SERVICE}/{name}", None, StringValue.FromString) for name, kind in kinds.items()
        }

    def call(self, method: str, *words: str | bytes) -> Any:
        """A call with these words, or with bytes as they are; only streams take several."""
        sent = [
            word if isinstance(word, bytes) else StringValue(value=word).SerializeToString() for word in words
        ]
        return self._methods[method](iter(sent) if method in STREAMS_REQUESTS else sent[0])


@pytest.fixture
def limits() -> CallLimits:
    """Few calls at once."""
    return CallLimits(answered=2, open=4)


@pytest.fixture
async def guarded(limits: CallLimits) -> AsyncIterator[Guarded]:
    gate, words = Gate(calls=Calls(limits)), Words()
    server = Server(gate.answer, Limits(calls=100, message_bytes=1_000_000, keepalive_seconds=60))
    server.add_registered_method_handlers(SERVICE, words.handlers())
    port, sockets = bind(parse_address("127.0.0.1:0", first_port=0))
    server.listen(sockets)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Guarded(gate, words, server, channel)
    words.release.set()
    await server.close(seconds=0)


def measured(method: str, code: str) -> float:
    [metric] = RPC_SECONDS.labels(SERVICE, method, code).collect()
    return sum(sample.value for sample in metric.samples if sample.name.endswith("_count"))


def in_progress(gate: Gate, method: str) -> float:
    gate.tell()
    return float(RPCS_IN_PROGRESS.labels(SERVICE, method)._value.get())


async def test_every_kind_of_method_answers_through_the_gate(guarded: Guarded):
    assert (await guarded.call("Repeat", "ab")).value == "ab"
    assert [each.value async for each in guarded.call("Spell", "ab")] == ["a", "b"]
    assert (await guarded.call("Join", "ab", "c")).value == "ab c"
    assert [each.value async for each in guarded.call("Shout", "ab", "c")] == ["AB", "C"]


@pytest.mark.parametrize("method", METHODS)
async def test_an_error_of_smalti_becomes_its_status_and_is_measured(guarded: Guarded, until, method: str):
    before = measured(method, "NOT_FOUND")
    refusal = await refused(guarded.call(method, UNKNOWN))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    await until(lambda: measured(method, "NOT_FOUND") == before + 1)


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_cannot_be_parsed_are_an_invalid_argument(guarded: Guarded, method: str):
    refusal = await refused(guarded.call(method, MALFORMED))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_a_malformed_message_ends_a_stream_after_the_replies_to_earlier_messages(
    guarded: Guarded,
):
    call = guarded.call("Shout", "ab", MALFORMED)
    assert (await anext(aiter(call))).value == "AB"
    assert (await refused(call)).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("method", METHODS)
async def test_a_bug_is_an_internal_error_with_the_number_in_the_log(guarded: Guarded, method: str):
    with capture_logs() as logs:
        refusal = await refused(guarded.call(method, BUG))
    assert (refusal.code, refusal.reason, refusal.domain) == ("INTERNAL", "INTERNAL_ERROR", "smalti")
    [event] = logs
    assert refusal.message.endswith(f"the server's log has for bug {event['bug']}.")
    assert (event["method"], repr(event["exc_info"])) == (method, "KeyError('mistyped')")
    assert "mistyped" not in refusal.message


async def test_a_client_raises_a_bug_as_the_same_class_again(guarded: Guarded):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await guarded.call("Repeat", BUG)
    error = from_rpc(caught.value, "127.0.0.1:1")
    assert type(error) is InternalError
    assert "report it" in str(error)


@pytest.mark.parametrize("method", METHODS)
async def test_a_graceful_stop_waits_for_every_kind_of_method(guarded: Guarded, until, method: str):
    call = guarded.call(method, WAIT)
    answers = asyncio.create_task(_answers(call))
    await until(lambda: guarded.gate.running == 1)
    idle = asyncio.create_task(guarded.gate.wait_until_idle(quiet_seconds=0.01))
    await guarded.server.stop_accepting()
    assert in_progress(guarded.gate, method) == 1
    await asyncio.wait([idle], timeout=0.1)
    assert not idle.done()
    guarded.words.release.set()
    assert "".join(await answers).lower() == WAIT
    await asyncio.wait_for(idle, timeout=5)
    await until(lambda: (guarded.gate.running, in_progress(guarded.gate, method)) == (0, 0))


async def _answers(call: Any) -> list[str]:
    if hasattr(call, "__aiter__"):
        return [each.value async for each in call]
    return [(await call).value]


async def test_a_client_that_goes_away_ends_a_stream_of_requests_and_its_cleanup_runs(
    guarded: Guarded, until
):
    before = measured("Shout", "CANCELLED")
    call = guarded.call("Shout", "ab", WAIT)
    assert (await anext(aiter(call))).value == "AB"
    call.cancel()
    await until(lambda: guarded.words.cleaned_up == 1)
    await until(lambda: measured("Shout", "CANCELLED") == before + 1)
    assert guarded.gate.running == 0


@pytest.mark.parametrize("method", ["Repeat", "Spell"])
async def test_a_call_that_ends_without_its_request_is_refused_and_does_not_hang(
    guarded: Guarded, method: str
):
    ask: Any = guarded.channel.stream_stream(f"/{SERVICE}/{method}", None, StringValue.FromString)
    refusal = await refused(ask(iter([]), timeout=60))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_more_calls_than_may_be_answered_are_refused_with_a_delay(guarded: Guarded, until):
    answered = [asyncio.create_task(_answers(guarded.call("Repeat", WAIT))) for _ in range(2)]
    await until(lambda: guarded.gate.running == 2)
    refusal = await refused(guarded.call("Repeat", "ab"))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "SERVER_FULL")
    assert refusal.retry_seconds > 0
    assert [each.value async for each in guarded.call("Spell", "ab")] == [
        "a",
        "b",
    ]  # a stream is no such call
    guarded.words.release.set()
    assert await asyncio.gather(*answered) == [[WAIT], [WAIT]]
    assert (await guarded.call("Repeat", "ab")).value == "ab"


async def test_a_call_that_is_refused_need_not_have_sent_its_request(guarded: Guarded, until):
    answered = [asyncio.create_task(_answers(guarded.call("Repeat", WAIT))) for _ in range(2)]
    await until(lambda: guarded.gate.running == 2)
    ask: Any = guarded.channel.stream_unary(f"/{SERVICE}/Repeat", None, StringValue.FromString)
    silent = ask(timeout=60)  # given a client that opens a call and sends nothing
    assert (await refused(silent)).reason == "SERVER_FULL"
    guarded.words.release.set()
    await asyncio.gather(*answered)


async def test_calls_whose_requests_are_on_their_way_keep_no_other_from_being_answered(
    guarded: Guarded, until
):
    ask: Any = guarded.channel.stream_unary(f"/{SERVICE}/Repeat", None, StringValue.FromString)
    slow = [ask(timeout=60) for _ in range(3)]
    await until(lambda: guarded.gate.running == 3)
    assert (await guarded.call("Repeat", "ab")).value == "ab"
    for call in slow:
        await call.write(StringValue(value="late").SerializeToString())
        await call.done_writing()
        assert (await call).value == "late"


@pytest.mark.parametrize("method", METHODS)
async def test_more_open_calls_than_a_service_may_have_are_refused(guarded: Guarded, until, method: str):
    open_calls = [guarded.call("Shout", WAIT) for _ in range(4)]
    await until(lambda: guarded.gate.running == 4)
    refusal = await refused(guarded.call(method, "ab"))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "SERVER_FULL")
    open_calls[0].cancel()
    await until(lambda: guarded.gate.running == 3)
    assert [each async for each in guarded.call("Spell", "a")]
    for call in open_calls:
        call.cancel()


@pytest.mark.parametrize("method", METHODS)
async def test_calls_that_end_in_any_way_make_room_again(guarded: Guarded, until, method: str):
    for word in (UNKNOWN, BUG, MALFORMED) * 3:
        with capture_logs():
            await refused(guarded.call(method, word))
    for _ in range(5):
        call = guarded.call(method, WAIT)
        await until(lambda: guarded.gate.running == 1)
        call.cancel()
        await until(lambda: guarded.gate.running == 0)
    assert "".join(await _answers(guarded.call(method, "ab"))).lower() == "ab"
