"""A webhook goes over TLS only to a target that proves its name, and no answer can keep the server busy."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.webhooks import sending
from server.webhooks.addresses import Networks, Unreachable
from server.webhooks.sending import post
from server.webhooks.targets import Url
from tests.server.security.certificates import Certificates
from tests.server.webhooks.receiver import Receiver

HERE = Networks("127.0.0.0/8,::1/128")


@asynccontextmanager
async def receiving_over_tls(certificates: Certificates) -> AsyncIterator[Receiver]:
    receiver, context = Receiver(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.make("target", hosts=("localhost",))
    context.load_cert_chain(*certificates.files("target"))
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver


async def send(url: Url, *, seconds: float = 5.0) -> int:
    return await post(url, HERE, {"webhook-id": "job"}, b"{}", timeout_seconds=seconds)


async def test_only_a_target_with_a_certificate_of_its_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = Certificates(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificates.ca))
    async with receiving_over_tls(certificates) as receiver:
        with pytest.raises(Unreachable, match="TLS failed: CERTIFICATE_VERIFY_FAILED"):
            await send(Url("https", "localhost", receiver.port, "/"))  # nobody here trusts its authority
        monkeypatch.setattr(sending, "_trust", lambda: trusting)
        with pytest.raises(Unreachable, match="TLS failed: CERTIFICATE_VERIFY_FAILED"):
            await send(Url("https", "127.0.0.1", receiver.port, "/"))  # the certificate is for another name
        assert receiver.received == []
        assert await send(Url("https", "localhost", receiver.port, "/")) == 204


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 " + b"x" * 100_000, "LimitOverrunError"),
        (b"x" * 100_000 + b"\r\n", "LimitOverrunError"),
        (b"HTTP/1.1 200", "IncompleteReadError"),
        (b"HTTP/2 200 OK\r\n", "its answer is not HTTP"),
        (b"\r\n\r\n", "its answer is not HTTP"),
        (None, "it did not answer within 0.3 s"),
    ],
)
async def test_an_answer_that_is_none_ends_in_time(answer: bytes | None, said: str) -> None:
    receiver = Receiver(answers=[answer])
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    async with server:
        with pytest.raises(Unreachable, match=said):
            await send(Url("http", "127.0.0.1", server.sockets[0].getsockname()[1], "/"), seconds=0.3)


async def test_an_answer_in_drops_does_not_last_longer_than_the_limit() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.01)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        with pytest.raises(Unreachable, match="it did not answer within"):
            await send(Url("http", "127.0.0.1", server.sockets[0].getsockname()[1], "/"), seconds=0.3)
