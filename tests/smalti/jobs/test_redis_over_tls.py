"""The queue over TLS: the certificate is checked, and the URL says against which authority."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.private_redis import PrivateRedis
from smalti.errors import Unavailable
from smalti.jobs.connection import connect
from tests.queues import queues_on
from tests.redis_kinds import redis_over_tls
from tests.server.security.certificates import Certificates
from tests.smalti.jobs.story import claim_from, finished, request_for


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path)
    made.make("redis")
    return made


@pytest.fixture
def guarded(certificates: Certificates) -> Iterator[PrivateRedis]:
    server = redis_over_tls(certificates.ca, certificates.files("redis"))
    yield server
    server.stop()


def url(server: PrivateRedis, ca: Path) -> str:
    return f"rediss://127.0.0.1:{server.options['tls-port']}/0?ssl_ca_certs={ca}"


async def test_a_job_is_drawn_over_tls(guarded: PrivateRedis, certificates: Certificates) -> None:
    async with connect(url(guarded, certificates.ca)) as redis:
        queue = queues_on(redis, lease_seconds=60)
        await queue.upkeep.check()
        job = await queue.clients.submit(request_for())
        await queue.workers.commit("anna", [finished(claim) for claim in await claim_from(queue)])
        assert (await queue.clients.get(job.id)).done == 1


async def test_a_redis_with_a_certificate_of_a_stranger_is_not_trusted(
    guarded: PrivateRedis, tmp_path: Path
) -> None:
    stranger = Certificates(tmp_path, "stranger")
    async with connect(url(guarded, stranger.ca)) as redis:
        with pytest.raises(Unavailable, match="certificate"):
            await queues_on(redis).clients.list(limit=1)
