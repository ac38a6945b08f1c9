"""Headers of every form, both ways, and deadlines."""

from base64 import b64encode
from typing import Any

import grpc
import pytest

from tests.server.http2.conftest import Connect
from tests.server.http2.wire import END_HEADERS, HEADERS, Wire, frame, headers, message, packed
from tests.server.http2.words import COUNT, ECHO, IDLE, POUR, SAY, WAIT, Served

OK, CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, UNIMPLEMENTED = (
    0,
    1,
    3,
    4,
    8,
    10,
    12,
)
BYTES = bytes(range(256))


def seen(served: Served, name: str) -> list[str | bytes]:
    return [value for key, value in served.words.metadata[-1] if key == name]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 256])
@pytest.mark.parametrize("has_padding", [False, True])
async def test_binary_metadata_comes_with_and_without_padding(
    served: Served, wire: Wire, size: int, has_padding: bool
):
    sent = b64encode(BYTES[:size])
    answer = await wire.ask(ECHO, message(b""), (b"x-bin", sent if has_padding else sent.rstrip(b"=")))
    assert (answer.status, seen(served, "x-bin")) == (OK, [BYTES[:size]])


async def test_values_of_one_key_keep_their_order(served: Served, wire: Wire):
    more = ((b"x", b"1"), (b"y-bin", b"MQ"), (b"x", b"2,3"), (b"y-bin", b"Mg,Mw=="), (b"x", b""))
    await wire.ask(ECHO, message(b""), *more)
    assert (seen(served, "x"), seen(served, "y-bin")) == (["1", "2,3", ""], [b"1", b"2", b"3"])


@pytest.mark.parametrize(
    "value", [b"A", b"AAAAA", b"!!!!", b"AA=A", b"AA AA", b"\xff\xff", b"AA=====", b"AAAA,A"]
)
async def test_bytes_that_are_not_base64_are_refused_with_the_name_of_their_key(wire: Wire, value: bytes):
    answer = await wire.ask(ECHO, message(b""), (b"x-bin", value))
    assert (answer.status, answer.said) == (
        INVALID_ARGUMENT,
        "The metadata 'x-bin' is not written in base64.",
    )


async def test_values_of_other_letters_come_as_their_bytes(served: Served, wire: Wire):
    await wire.ask(ECHO, message(b""), (b"x", "ä€".encode()), (b"z", b"\x80\xff"))
    assert seen(served, "x") == ["ä€".encode().decode("latin-1")]
    assert seen(served, "z") == ["\x80\xff"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x y", b"a"),
        (b"x\0", b"a"),
        (b"x", b"a\0"),
        (b"x", b"a\n"),
        (b"", b"a"),
        (b":x", b"a"),
        (b"connection", b"close"),
        (b"x", b" a"),
        (b"x", b"a "),
        (b"te", b"gzip"),
        (b"\xc3\xa4", b"a"),
    ],
)
async def test_a_header_that_http2_forbids_ends_only_its_call(served: Served, wire: Wire, name, value):
    other = wire.call(WAIT, body=message(b"ab"))
    answer = await wire.ask(ECHO, message(b""), (name, value))
    assert (answer.status, answer.error_code in (1, 2)) == (None, True)
    served.words.release.set()
    assert (await wire.answer(other)).messages == [b"ab"]


@pytest.mark.parametrize(
    "more",
    [[(b"x", bytes(17_000).replace(b"\0", b"a"))], [(b"x-%d" % number, b"a") for number in range(1000)]],
)
async def test_a_call_with_too_many_headers_is_refused_and_the_others_go_on(served: Served, wire: Wire, more):
    other = wire.call(WAIT, body=message(b"ab"))
    answer = await wire.ask(ECHO, message(b""), *more)
    assert answer.status == RESOURCE_EXHAUSTED
    assert answer.said.startswith("The metadata is too large: ")
    served.words.release.set()
    assert (await wire.answer(other)).messages == [b"ab"]


async def test_headers_that_unpack_to_very_much_end_the_connection_and_no_other(
    wire: Wire, connecting: Connect
):
    bomb = (
        packed(headers(ECHO)) + packed([(b"x", b"a" * 4000)], kind=0x40) + b"\xbe" * 10_000
    )  # again and again
    wire.write(frame(HEADERS, END_HEADERS, 1, bomb))
    await wire.gone()
    assert (await (await connecting()).ask(ECHO, message(b"ab"))).status == OK


@pytest.mark.parametrize(
    "path", ["/", "*", "", "x", "//", f"{ECHO}/", ECHO.lower(), f"{ECHO}?x=1", "/%2e", "/é", "/" + "x" * 9000]
)
async def test_a_path_that_is_no_method_is_unimplemented(wire: Wire, path: str):
    answer = await wire.ask(path, message(b""))
    assert answer.status == UNIMPLEMENTED or (not path.startswith("/") and answer.error_code == 1)
    assert (await wire.ask(ECHO, message(b"ab"))).status == OK


@pytest.mark.parametrize(
    "content_type", [b"application/grpc+proto", b"Application/GRPC", b"application/grpc; a=b"]
)
async def test_other_forms_of_grpcs_content_type_are_known(wire: Wire, content_type: bytes):
    assert (await wire.ask(ECHO, message(b""), **{"content-type": content_type})).status == OK


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"method": b"GET"}, b"405"),
        ({"method": b"PUT"}, b"405"),
        ({"content-type": None}, b"415"),
        ({"content-type": b"application/json"}, b"415"),
        ({"content-type": b"application/grpc-web"}, b"415"),
        ({"content-type": b"application/grpcx"}, b"415"),
    ],
)
async def test_a_request_that_is_not_of_grpc_gets_a_status_of_http(wire: Wire, changed: Any, status: bytes):
    answer = await wire.ask(ECHO, message(b""), **changed)
    assert (answer.headers, answer.status) == ({b":status": status}, None)
    assert (await wire.ask(ECHO, message(b"ab"))).status == OK


async def test_a_call_need_not_say_that_it_takes_trailers(wire: Wire):
    assert (await wire.ask(ECHO, message(b""), te=None)).status == OK


@pytest.mark.parametrize(
    "text", ["", "a b", " a ", "\ta\n", "100%", "%41", "ä€𝄞", "a\r\nb: c", "\0", "x" * 3000, "~ !\x7f"]
)
async def test_any_message_and_metadata_of_a_status_reach_the_client(served: Served, text: str):
    async with grpc.aio.insecure_channel(served.address) as channel:
        ask: Any = channel.unary_unary(SAY)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(text.encode())
    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, text)
    assert dict(error.trailing_metadata() or ())["said-bin"] == text.encode()


@pytest.mark.parametrize("limit", [b"0n", b"0H", b"1n", b"1u", b"00000001n"])
async def test_a_deadline_that_has_passed_when_the_call_comes_ends_it(wire: Wire, limit: bytes):
    answer = await wire.ask(WAIT, message(b""), (b"grpc-timeout", limit))
    assert answer.status == DEADLINE_EXCEEDED


@pytest.mark.parametrize("limit", [b"30000000u", b"20000m", b"20S", b"1M", b"1H", b"99999999H"])
async def test_a_deadline_of_any_unit_gives_its_time(wire: Wire, limit: bytes):
    assert (await wire.ask(ECHO, message(b""), (b"grpc-timeout", limit))).status == OK


@pytest.mark.parametrize(
    "limit", [b"", b"1", b"S", b"-1S", b"1.5S", b"123456789S", b"1s", b"1SS", b"\xb2S", b"+1S"]
)
async def test_a_deadline_that_cannot_be_read_is_refused(wire: Wire, limit: bytes):
    answer = await wire.ask(ECHO, message(b""), (b"grpc-timeout", limit))
    assert answer.status == INVALID_ARGUMENT
    assert answer.said == "The header 'grpc-timeout' is not a number of at most eight digits and a unit."


async def test_a_deadline_passes_while_the_answer_is_computed(served: Served, wire: Wire, until):
    answer = await wire.ask(WAIT, message(b""), (b"grpc-timeout", b"50m"))
    assert (answer.status, answer.said) == (DEADLINE_EXCEEDED, "The deadline passed.")
    assert served.words.ended == 1
    await until(lambda: served.kept == 0)


async def test_a_deadline_passes_while_the_request_is_on_its_way(served: Served, wire: Wire, until):
    stream = wire.call(COUNT, (b"grpc-timeout", b"50m"))
    wire.send(stream, message(b"ab") + message(b"cd")[:3])
    assert (await wire.answer(stream)).status == DEADLINE_EXCEEDED
    await until(lambda: served.kept == 0)


async def test_a_response_that_nobody_took_by_the_deadline_is_not_kept(
    served: Served, connecting: Connect, until
):
    wire = await connecting(window=0)
    stream = wire.call(POUR, (b"grpc-timeout", b"50m"), body=message(b"1 900000"))
    assert (await wire.answer(stream)).error_code == 8
    [connection] = served.connections
    await until(lambda: not served.kept and not connection._http2.queued_body_size())


async def test_a_deadline_after_the_answer_changes_nothing(served: Served, wire: Wire, until):
    assert (await wire.ask(ECHO, message(b"ab"), (b"grpc-timeout", b"100m"))).status == OK
    stream = wire.call(IDLE, (b"grpc-timeout", b"300m"))
    assert (
        await wire.answer(stream)
    ).status == DEADLINE_EXCEEDED  # by now the first deadline has passed, too
    assert (await wire.ask(ECHO, message(b"ab"))).status == OK
