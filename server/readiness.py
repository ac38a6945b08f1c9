"""Decides what the health service says about the server, each service and each model."""

from collections.abc import Mapping
from typing import Protocol

from grpc_health.v1 import health_pb2

from smalti.errors import Unavailable

IMAGES = "smalti.v1.ImageService"
JOBS = "smalti.v1.JobService"
MODELS = "smalti.v1.ModelService"
ADMIN = "smalti.v1.AdminService"
SERVER = ""
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthStatuses(Protocol):
    """The part of the health service that is needed here."""

    async def set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        """Publish a status to those who ask and those who watch."""


class Readiness:
    """What is ready; every change is published at once.

    The whole server (service "") is ready when every model that can be served is loaded and warm, there is at least
    one, and Redis answers; of a queue in several parts, any of them. ImageService and ModelService need no Redis. A
    model that is left out is not ready itself, but does not make anything else unready.
    """

    def __init__(self, health: HealthStatuses) -> None:
        self._health = health
        self._started = False
        self._stopping = False
        self._redis: dict[int, bool] = {}  # whether it answers, for each part of the queue
        self._no_redis = "Redis does not answer, so there are no jobs for now."
        self._models: dict[str, bool] = {}

    async def publish(self) -> None:
        """Publish all statuses."""
        for service, ready in self._statuses().items():
            await self._health.set(service, _SERVING if ready else _NOT_SERVING)

    async def set_started(self) -> None:
        """From now on every model that can be served is loaded and warm."""
        self._started = True
        await self.publish()

    async def set_stopping(self) -> None:
        """From now on no new requests are taken."""
        self._stopping = True
        await self.publish()

    async def set_redis(self, part: int = 0) -> None:
        """From now on the Redis of this part of the queue answers and is fit."""
        await self._set_redis(part, True)

    async def set_no_redis(self, reason: str, part: int = 0) -> None:
        """From now on there are no jobs of this part; clients that ask for one get the reason."""
        self._no_redis = reason
        await self._set_redis(part, False)

    async def _set_redis(self, part: int, ready: bool) -> None:
        before = self._has_redis
        self._redis[part] = ready
        if self._has_redis != before:
            await self.publish()

    @property
    def _has_redis(self) -> bool:
        """Whether there are jobs of any part."""
        return any(self._redis.values())

    async def set_models(self, statuses: Mapping[str, bool]) -> None:
        """Set for each model whether it is served; a model that is missing is not served."""
        models = dict.fromkeys(self._models, False) | dict(statuses)
        if models != self._models:
            self._models = models
            await self.publish()

    @property
    def is_ready(self) -> bool:
        """Whether the whole server is ready."""
        return self._statuses()[SERVER]

    def require_queue(self) -> None:
        """Raise Unavailable unless Redis answers and is fit."""
        if not self._has_redis:
            raise Unavailable(self._no_redis)

    def _statuses(self) -> dict[str, bool]:
        ready = self._started and not self._stopping
        models = {name: ready and serving for name, serving in self._models.items()}
        return models | {
            IMAGES: ready,
            MODELS: ready,
            JOBS: ready and self._has_redis,
            ADMIN: ready and self._has_redis,
            SERVER: ready and self._has_redis and any(self._models.values()),
        }
