"""Tells clients of the ends of their jobs: looks for webhooks that are due, sends them, tries again later."""

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from random import Random

import structlog

import smalti
from server.webhooks.addresses import Networks, Unreachable
from server.webhooks.secret import Secret
from server.webhooks.sending import post
from server.webhooks.targets import Targets, parse
from smalti.errors import Unavailable
from smalti.jobs.job import Job
from smalti.jobs.webhooks import Due, WebhookQueue
from smalti.runtime.metrics import WEBHOOKS
from smalti.webhooks import sign

log = structlog.get_logger()
AT_ONCE = 32  # webhooks on their way
AT_ONCE_EACH = 8  # of one client; where clients have no names, to one host
_LOOK_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0
_AGAIN_SECONDS = 3 * _TIMEOUT_SECONDS  # then another server may send what this one took
MOST_TRIES = 15  # in about five hours
_PUT_OFF_SECONDS = 5.0  # where a client has enough on their way
_FIRST_DELAY_SECONDS = 5.0
_LONGEST_DELAY_SECONDS = 3600.0
_GONE = 410  # the target wants no more


class Delivery:
    """Sends webhooks. Every server process runs one; each webhook is sent by one of them at a time.

    It waits for targets only, and holds no connection to Redis meanwhile.
    """

    def __init__(self, queue: WebhookQueue, targets: Targets, networks: Networks, secret: Secret) -> None:
        self._queue = queue
        self._targets = targets
        self._networks = networks
        self._secret = secret
        self._spread = Random()
        self._sending: set[asyncio.Task[None]] = set()
        self._of_each: Counter[str] = Counter()  # of those on their way

    async def run(self) -> None:
        """Send until cancelled. What is on its way then is sent again by another process, or after the next start.

        Without targets nothing is sent: other servers of the queue may have some.
        """
        try:
            while self._targets:
                with suppress(Unavailable):  # the upkeep says so
                    await self._look()
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for task in self._sending:
                task.cancel()

    async def _look(self) -> None:
        """Begin to send what is due, as far as there is room."""
        room = AT_ONCE - len(self._sending)
        for due in await self._queue.take(room, again_seconds=_AGAIN_SECONDS) if room > 0 else ():
            if self._of_each[_sharer(due.job)] < AT_ONCE_EACH:
                self._begin(due)
            else:
                await self._queue.put_off(due, next_seconds=_PUT_OFF_SECONDS)

    def _begin(self, due: Due) -> None:
        who = _sharer(due.job)
        self._of_each[who] += 1
        task = asyncio.create_task(self._deliver(due), name=f"webhook of {due.job.id}")
        self._sending.add(task)
        task.add_done_callback(partial(self._end, who))

    def _end(self, who: str, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._of_each[who] -= 1
        if not self._of_each[who]:
            del self._of_each[who]

    async def _deliver(self, due: Due) -> None:
        outcome, why = await self._try(due)
        is_last = outcome == "failed" and due.tries >= MOST_TRIES
        outcome = "given_up" if is_last else outcome
        WEBHOOKS.labels(outcome).inc()
        if outcome != "delivered":
            log.warning("webhook not delivered", job=due.job.id, outcome=outcome, tries=due.tries, reason=why)
        with suppress(Unavailable):  # then it is sent again
            await self._queue.settle(due, next_seconds=self._delay(due) if outcome == "failed" else None)

    async def _try(self, due: Due) -> tuple[str, str]:
        """The outcome and, unless it was delivered, why."""
        url = parse(due.job.request.notes.webhook)
        if url is None or not self._targets.allow(url):
            return "given_up", "its target is not allowed any more"
        body = body_of(due.job)
        try:
            headers = self._headers(due.job, body)
            status = await post(url, self._networks, headers, body, timeout_seconds=_TIMEOUT_SECONDS)
        except Unreachable as error:
            return "failed", str(error)
        if 200 <= status < 300:
            return "delivered", ""
        return ("given_up" if status == _GONE else "failed"), f"its target answered {status}"

    def _headers(self, job: Job, body: bytes) -> dict[str, str]:
        timestamp, key = int(time.time()), self._secret.key_of(job.client)
        return {
            "content-type": "application/json",
            "user-agent": f"smalti/{smalti.__version__}",
            "webhook-id": job.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(key, message_id=job.id, timestamp=timestamp, body=body),
        }

    def _delay(self, due: Due) -> float:
        """Until the next try, in seconds; spread, so that many do not come together."""
        return delay_after(due.tries) * self._spread.uniform(0.8, 1.2)


def _sharer(job: Job) -> str:
    """With whom a webhook shares its places: with the others of its client, or to its host."""
    url = parse(job.request.notes.webhook)
    return job.client or (url.authority if url else "")


def delay_after(tries: int) -> float:
    """Seconds until the next try: twice as long each time."""
    return min(_FIRST_DELAY_SECONDS * 2.0 ** (tries - 1), _LONGEST_DELAY_SECONDS)


def body_of(job: Job) -> bytes:
    """The event as JSON: how the job ended, without pictures."""
    request = job.request
    data = {
        "job": job.id,
        "state": job.state,
        "reason": job.reason,
        "model": request.model,
        "version": request.version,
        "count": request.count,
        "done": job.done,
        "failed": job.failed,
        "name": request.notes.name,
        "labels": dict(request.notes.labels),
        "created": _iso(job.created),
        "ended": _iso(job.ended),
        "expires": _iso(job.expires),
    }
    event = {"type": "job.ended", "timestamp": _iso(job.ended), "data": data}
    return json.dumps(event, separators=(",", ":")).encode()


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
