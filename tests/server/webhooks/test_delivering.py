"""The end of a job is told to its webhook, signed, until the target has it; nothing waits for it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from server.webhooks import delivering
from server.webhooks.addresses import Networks
from server.webhooks.delivering import MOST_TRIES, Delivery, delay_after
from server.webhooks.secret import Secret
from server.webhooks.targets import Targets
from smalti.errors import SettingsInvalid, WebhookForged
from smalti.jobs.job import Job, Notes
from smalti.jobs.keys import Keys
from smalti.jobs.webhooks import WebhookQueue
from smalti.runtime.metrics import WEBHOOKS
from smalti.webhooks import key_of_client, verified, write_key
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.server.webhooks.receiver import Received, Receiver, receiving
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import ANNE, BEN, claim_from, finished, request_for

SECRET = "a secret of the server, long enough"
KEY = write_key(key_of_client(SECRET.encode(), "anne"))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def queue(redis: Redis) -> Queues:
    return queues_on(redis, lease_seconds=60)


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o600)
    return Secret(file)


@pytest.fixture
async def deliver(queue: Queues, receiver: Receiver, secret: Secret, monkeypatch: Any) -> AsyncIterator[Any]:
    """Starts deliveries to the receiver; several are several servers."""
    monkeypatch.setattr(delivering, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(delivering, "_FIRST_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(delivering, "_LONGEST_DELAY_SECONDS", 0.05)
    tasks: list[asyncio.Task[None]] = []

    def start(*, targets: str = "", networks: str = "127.0.0.0/8") -> asyncio.Task[None]:
        allowed = Targets(targets or receiver.origin)
        delivery = Delivery(WebhookQueue(queue.store), allowed, Networks(networks), secret)
        tasks.append(asyncio.create_task(delivery.run()))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def submit(queue: Queues, receiver: Receiver, *, path: str = "/hook", **changes: Any) -> Job:
    notes = Notes(name="trial", labels=(("run", "7"),), webhook=receiver.origin + path)
    return await queue.of(ANNE).submit(request_for(notes=notes, **changes))


async def pending(redis: Redis) -> int:
    return int(await redis.zcard(Keys("default").webhooks))


def event_in(received: Received) -> dict[str, Any]:
    return verified(received.body, received.headers, KEY)


async def test_the_end_of_a_job_is_told_once_and_signed(
    queue: Queues, redis: Redis, receiver: Receiver, deliver: Any, until: Until
) -> None:
    deliver()
    deliver()  # another server
    job = await submit(queue, receiver, path="/hook?from=smalti")
    [claim] = await claim_from(queue)
    assert receiver.received == []
    await queue.workers.commit("anna", [finished(claim)])
    await until(lambda: receiver.received)
    await until(lambda: _is_settled(redis))
    [received] = receiver.received
    assert received.line == "POST /hook?from=smalti HTTP/1.1"
    assert received.headers["webhook-id"] == job.id
    event = event_in(received)
    assert event["type"] == "job.ended"
    told = {name: event["data"][name] for name in ("job", "state", "done", "count", "name", "labels")}
    assert told == {
        "job": job.id, "state": "SUCCEEDED", "done": 1, "count": 1, "name": "trial", "labels": {"run": "7"},
    }  # fmt: skip
    await audit_pool(redis)


async def _is_settled(redis: Redis) -> bool:
    return await pending(redis) == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n",  # never followed
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
async def test_it_is_sent_again_until_the_target_takes_it(
    queue: Queues, redis: Redis, receiver: Receiver, deliver: Any, until: Until, answer: bytes
) -> None:
    receiver.answers[:0] = [answer, answer]
    job = await submit(queue, receiver)
    await queue.of(ANNE).cancel(job.id)
    deliver()
    await until(lambda: _is_settled(redis))
    assert [event_in(received)["data"]["state"] for received in receiver.received] == ["CANCELLED"] * 3


async def test_it_outlives_the_server_that_was_sending_it(
    queue: Queues, redis: Redis, receiver: Receiver, deliver: Any, until: Until, monkeypatch: Any
) -> None:
    monkeypatch.setattr(delivering, "_AGAIN_SECONDS", 0.1)
    receiver.answers.insert(0, None)
    job = await submit(queue, receiver)
    await queue.of(ANNE).cancel(job.id)
    first = deliver()
    await until(lambda: receiver.received)
    first.cancel()  # given a server that ends while the target has not answered
    assert await pending(redis) == 1
    deliver()
    await until(lambda: _is_settled(redis))
    assert len(receiver.received) == 2


async def test_a_target_that_never_answers_holds_nothing_else_up(
    queue: Queues, receiver: Receiver, deliver: Any, until: Until
) -> None:
    receiver.answers[:] = [None]
    deliver()
    for _ in range(20):  # more than are sent at once of one client
        await queue.of(ANNE).cancel((await submit(queue, receiver)).id)
    await until(lambda: len(receiver.received) == delivering.AT_ONCE_EACH)
    job = await queue.of(ANNE).submit(request_for(count=3))
    claims = await claim_from(queue, limit=3)
    await queue.workers.commit("anna", [finished(claim) for claim in claims])
    assert (await queue.of(ANNE).get(job.id)).done == 3


async def test_the_webhooks_of_one_client_leave_room_for_those_of_others(
    queue: Queues, receiver: Receiver, deliver: Any, until: Until
) -> None:
    receiver.answers[:] = [None]
    async with receiving() as other:
        for _ in range(2 * delivering.AT_ONCE):
            await queue.of(ANNE).cancel((await submit(queue, receiver)).id)
        job = await queue.of(BEN).submit(request_for(notes=Notes(webhook=other.origin)))
        await queue.of(BEN).cancel(job.id)
        deliver(targets=f"{receiver.origin},{other.origin}")
        await until(lambda: other.received)
    assert len(receiver.received) == delivering.AT_ONCE_EACH


async def test_a_webhook_that_was_put_off_was_not_tried(
    queue: Queues, redis: Redis, receiver: Receiver
) -> None:
    await queue.of(ANNE).cancel((await submit(queue, receiver)).id)
    webhooks = WebhookQueue(queue.store)
    [due] = await webhooks.take(9, again_seconds=60)
    await webhooks.put_off(due, next_seconds=0)
    [again] = await webhooks.take(9, again_seconds=60)
    assert (due.tries, again.tries) == (1, 1)
    assert await webhooks.take(9, again_seconds=60) == []


async def test_it_is_given_up_after_many_tries(
    queue: Queues, redis: Redis, receiver: Receiver, deliver: Any, until: Until
) -> None:
    receiver.answers[:] = [b"HTTP/1.1 503 Away\r\n\r\n"]
    job = await submit(queue, receiver)
    await queue.of(ANNE).cancel(job.id)
    await redis.hset(queue.store.keys.job(job.id), "webhook_tries", str(MOST_TRIES - 2))
    deliver()
    await until(lambda: _is_settled(redis))
    assert len(receiver.received) == 2


def test_each_try_comes_later_and_all_together_take_some_hours() -> None:
    delays = [delay_after(tries) for tries in range(1, MOST_TRIES)]
    assert delays[:4] == [5, 10, 20, 40]
    assert (delays[-1], 4 * 3600 < sum(delays) < 6 * 3600) == (3600, True)


async def test_a_target_that_is_gone_is_not_asked_again(
    queue: Queues, redis: Redis, receiver: Receiver, deliver: Any, until: Until
) -> None:
    receiver.answers[:] = [b"HTTP/1.1 410 Gone\r\n\r\n"]
    await queue.of(ANNE).cancel((await submit(queue, receiver)).id)
    deliver()
    await until(lambda: _is_settled(redis))
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [({"networks": ""}, "failed"), ({"targets": "https://hooks.example.org"}, "given_up")],
)
async def test_nothing_is_sent_where_the_operator_does_not_allow_it(
    queue: Queues, receiver: Receiver, deliver: Any, until: Until, settings: dict[str, str], outcome: str
) -> None:
    before = WEBHOOKS.labels(outcome)._value.get()
    await queue.of(ANNE).cancel((await submit(queue, receiver)).id)
    deliver(**settings)
    await until(lambda: WEBHOOKS.labels(outcome)._value.get() > before)
    assert receiver.received == []


async def test_the_webhook_of_a_deleted_job_is_forgotten(
    queue: Queues, redis: Redis, receiver: Receiver
) -> None:
    job = await submit(queue, receiver)
    await queue.of(ANNE).cancel(job.id)
    await queue.of(ANNE).delete(job.id)
    assert await pending(redis) == 0


async def test_a_label_that_looks_like_a_webhook_is_none(queue: Queues, redis: Redis) -> None:
    notes = Notes(labels=(("webhook", "https://hooks.example.org"),))
    job = await queue.of(ANNE).submit(request_for(notes=notes))
    await queue.of(ANNE).cancel(job.id)
    assert await pending(redis) == 0


async def test_every_client_has_a_key_of_its_own(
    queue: Queues, receiver: Receiver, deliver: Any, until: Until
) -> None:
    await queue.of(ANNE).cancel((await submit(queue, receiver)).id)
    deliver()
    await until(lambda: receiver.received)
    [received] = receiver.received
    with pytest.raises(WebhookForged):
        verified(received.body, received.headers, write_key(key_of_client(SECRET.encode(), "ben")))


@pytest.mark.parametrize("content", ["short", None])
def test_a_secret_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "secret"
    if content:
        file.write_text(content)
    with pytest.raises(SettingsInvalid, match="SMALTI_WEBHOOK_SECRET_FILE"):
        Secret(file)
