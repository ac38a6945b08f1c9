"""A client names a webhook with its job, and the server tells it of the end."""

from pathlib import Path

import pytest

from smalti.client import AsyncClient
from smalti.errors import InvalidRequest, SettingsInvalid, Unsupported
from smalti.jobs.job import JobState
from smalti.webhooks import verified
from tests.server.conftest import Running, StartServer
from tests.server.hand_worker import HandWorker
from tests.server.webhooks.receiver import receiving


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "webhook.secret"
    file.write_text("a secret of the server, long enough")
    return file


async def test_a_client_is_told_of_the_end_and_can_check_who_tells_it(
    start_server: StartServer, secret_file: Path, until
):
    async with receiving() as receiver:
        settings = {"webhook_targets": receiver.origin, "webhook_networks": "127.0.0.0/8"}
        async with (
            start_server(webhook_secret_file=secret_file, **settings) as server,
            AsyncClient(server.address) as client,
        ):
            job = await client.submit("toy-pixel-rnn", name="mine", webhook=f"{receiver.origin}/done")
            assert job.webhook == f"{receiver.origin}/done"
            digests = [model.digest for model in server.application.catalogue.models()]
            await HandWorker(server.queue.workers, digests).draw_all()
            await until(lambda: receiver.received)
            key = await client.webhook_key()
            with pytest.raises(InvalidRequest, match=r"does not allow webhooks to http://127\.0\.0\.1:1 "):
                await client.submit("toy-pixel-rnn", webhook="http://127.0.0.1:1/")
        [received] = receiver.received
        event = verified(received.body, received.headers, key)
        assert (event["data"]["job"], event["data"]["name"]) == (job.id, "mine")
        assert event["data"]["state"] == JobState.SUCCEEDED


async def test_a_server_without_targets_refuses_webhooks(server: Running):
    async with AsyncClient(server.address) as client:
        with pytest.raises(Unsupported, match="sends no webhooks"):
            await client.submit("toy-pixel-rnn", webhook="https://hooks.example.org/")
        with pytest.raises(Unsupported, match="sends no webhooks"):
            await client.webhook_key()


async def test_targets_without_a_secret_are_refused_at_the_start(start_server: StartServer):
    with pytest.raises(SettingsInvalid, match="set SMALTI_WEBHOOK_SECRET_FILE, too"):
        async with start_server(webhook_targets="https://hooks.example.org"):
            pass
