"""Builds the server with all its services, runs it, and stops it in order."""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import structlog
from grpc_health.v1 import health, health_pb2_grpc

from server.address import listening_address
from server.calls import CallLimits, Calls
from server.gate import Gate
from server.http2.server import Server
from server.inference import protocol
from server.inference.drawing import Drawing
from server.inference.exporting import Exporting
from server.inference.inferring import Inferring
from server.inference.naming import ProtocolModels
from server.inference.repository import Repository
from server.inference.service import InferenceService, add_to
from server.inference.settings import Settings
from server.inference.shared_memory import Regions, SharedRegions
from server.inference.statistics import Statistics
from server.inference.streaming import Streaming
from server.listening import listen, make_server
from server.messages.checks import RequestLimits
from server.oneshot.catalogue import Catalogue
from server.oneshot.pictures import Pictures
from server.oneshot.turns import Turns
from server.queued.board import Board
from server.queued.drawing import StreamedDrawing
from server.queued.hints import Hints
from server.queued.places import Places, WatcherLimits
from server.queued.uploading import Uploads
from server.queued.watching import Watching
from server.readiness import ADMIN, IMAGES, JOBS, MODELS, Readiness
from server.reflecting import reflect
from server.security.protection import Protection
from server.services.admin import AdminService
from server.services.images import ImageService
from server.services.jobs import JobService
from server.services.models import ModelService
from server.siblings import Alone, Siblings
from server.stores import Stores
from server.upkeep import Upkeep
from server.webhooks.addresses import Networks
from server.webhooks.delivering import Delivery
from server.webhooks.secret import Secret, require_secret
from server.webhooks.targets import Targets
from smalti.jobs.administration import QueueAdministration
from smalti.jobs.clients import ClientQueue
from smalti.jobs.housekeeping import Depths
from smalti.jobs.limits import EVERYBODY, ClientLimits, QueueLimits
from smalti.jobs.shards import Shards
from smalti.jobs.sharing import ClientWeights
from smalti.jobs.upkeep import QueueUpkeep
from smalti.jobs.watchers import WatcherQueue
from smalti.jobs.webhooks import WebhookQueue
from smalti.printable import printable
from smalti.runtime.batching import Batching
from smalti.runtime.following import LOOK_SECONDS
from smalti.runtime.repository import ModelRepository
from smalti.runtime.settings import ServerSettings
from smalti.v1 import admin_pb2_grpc, images_pb2_grpc, jobs_pb2_grpc, models_pb2_grpc

log = structlog.get_logger()
_QUIET_SECONDS = 0.1  # after so long without a new call, none is still on its way
_SEND_SECONDS = 0.2  # for sending the last responses


class Application:
    """A server with all its services; it listens on `port`.

    Where it is one process of several, `siblings` are all of them, and the port is reserved for them.
    """

    def __init__(
        self, settings: ServerSettings, stores: Stores, pool: Executor, siblings: Siblings | None = None
    ) -> None:
        self._settings = settings
        self._siblings = siblings or Alone()
        self._is_one_of_several = siblings is not None
        self._protection = Protection(settings)
        self._secret = Secret(settings.webhook_secret_file)
        self._deliveries = _deliveries(settings, stores.upkeep, self._secret)
        self._gate = Gate(self._protection.admission, Calls(_call_limits(settings)))
        self._server = self._new_server()
        self._address = listening_address(settings.listen)
        self.port = self._address.port
        if not self._is_one_of_several:
            self.port = listen(self._server, self._address, self._protection)
        self._health = health.aio.HealthServicer()
        self._readiness = Readiness(self._health)
        queue, results = ClientQueue(stores.users, limits=_queue_limits(settings)), WatcherQueue(stores.users)
        self._hints = Hints(WatcherQueue(stores.watchers).by_shard())
        self._board = self._new_board(stores.watchers)
        drawn = Watching(self._new_board(stores.users))  # no watcher delays it, and a stop does not end it
        self.catalogue = _catalogue(settings, pool)
        self._turns = Turns(threads=_turning_threads(settings))
        self._pictures = Pictures(self._turns, pixels=settings.max_picture_pixels)
        self._uploads = Uploads(
            self._pictures, most_bytes=settings.max_upload_bytes, most_images=settings.max_images
        )
        self._drawing = StreamedDrawing(queue, results, drawn, self._readiness, self._pictures)
        depths = Depths()
        self._upkeep = [
            Upkeep(QueueUpkeep(store), self._readiness, part=part, depths=depths)
            for part, store in enumerate(stores.upkeep.all)
        ]
        administration = QueueAdministration(stores.users, queue)
        admin = AdminService(administration, ClientWeights(stores.users), self._readiness)
        self._add_services(queue, ClientQueue(stores.watchers), results, admin)
        self._background: list[asyncio.Task[None]] = []
        self.has_loaded = asyncio.Event()  # every model that can be served

    def _new_server(self) -> Server:
        return make_server(
            self._gate,
            self._protection,
            max_message_bytes=self._settings.max_message_bytes,
            keepalive_seconds=self._settings.keepalive_seconds,
            shares_port=self._is_one_of_several,
        )

    def _new_board(self, store: Shards) -> Board:
        most = self._settings.max_watchers_per_job
        everybody = ClientQueue(store).of(EVERYBODY)
        return Board(everybody, WatcherQueue(store), self._hints, most_per_job=most)

    def _add_services(
        self, queue: ClientQueue, watched: ClientQueue, results: WatcherQueue, admin: AdminService
    ) -> None:
        limits, server, catalogue = _limits(self._settings), self._server, self.catalogue
        images = ImageService(catalogue, self._pictures, self._drawing, limits)
        images_pb2_grpc.add_ImageServiceServicer_to_server(images, server)
        watching, places = Watching(self._board), Places(_watcher_limits(self._settings))
        jobs = JobService(
            queue,
            watched,
            results,
            catalogue,
            self._pictures,
            self._uploads,
            watching,
            places,
            self._readiness,
            limits,
            self._secret,
        )
        jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
        models = ModelService(catalogue, self._readiness, self._siblings)
        models_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)
        add_to(server, self._inference())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflect(server, [IMAGES, JOBS, MODELS, ADMIN, health.SERVICE_NAME], others=[protocol.file()])

    def _inference(self) -> InferenceService:
        models = ProtocolModels(self.catalogue)
        self._exporting = Exporting(models)
        regions = Regions(most_bytes=self._settings.max_message_bytes)
        inferring = Inferring(models, regions, self._turns)
        return InferenceService(
            models,
            inferring,
            streaming=Streaming(models, inferring, Drawing(self._drawing)),
            shared=SharedRegions(regions, self._siblings, is_allowed=self._may_share_memory),
            statistics=Statistics(models, self._siblings),
            repository=Repository(models, self.catalogue, self._siblings),
            settings=Settings(models, self._siblings),
            readiness=self._readiness,
        )

    @property
    def _may_share_memory(self) -> bool:
        allowed = self._settings.shared_memory
        return allowed == "on" or (allowed == "loopback" and self._address.is_loopback)

    async def serve(self) -> None:
        """Answer requests until cancelled; ready as soon as every model is loaded and Redis answers.

        A server of one process listens from the first moment. One of several listens once it can answer like the
        others. Raises an error that only a person can repair, such as RedisUnfit.
        """
        await self._readiness.publish()
        self._look_after_the_queue()
        if self._is_one_of_several:
            await self._start_with_siblings()
        else:
            await self._start()
            await self._load_models()
        self._background.append(_named(self._follow_models(), "models"))
        await _first_failure(self._background)

    async def _start_with_siblings(self) -> None:
        await self._siblings.join()
        await self._load_models()
        _raise_failures(self._background)
        await self._siblings.loaded()
        # Earlier, connections would wait here for the models.
        listen(self._server, self._address, self._protection, is_reserved=True)
        await self._start()

    def _look_after_the_queue(self) -> None:
        self._background = [
            _named(self._exporting.run(), "exporting"),
            _named(self._gate.keep_telling(), "calls in progress"),
            *(_named(each.run(), "upkeep") for each in self._upkeep),
            *(_named(each.keep_recovering(), "recovery") for each in self._upkeep),
            *(_named(each.keep_auditing(), "audit") for each in self._upkeep),
            _named(self._hints.run(), "hints"),
            *(_named(each.run(), "webhooks") for each in self._deliveries),
            _named(self._protection.keep_reading(), "secrets"),
        ]

    async def _start(self) -> None:
        await self._server.start()
        log.info("listening", port=self.port)

    async def _load_models(self) -> None:
        await self.catalogue.follow()
        await self._readiness.set_models(self.catalogue.statuses())
        await self._readiness.set_started()
        self.has_loaded.set()
        served = len(self.catalogue.models())
        log.info("models loaded", served=served, left_out=len(self.catalogue.left_out))
        if not served:
            log.error(
                "there is no model to serve yet", repository=printable(str(self._settings.model_repository))
            )

    async def _follow_models(self) -> None:
        """Go on looking for changes in the repository."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.catalogue.follow()
            await self._readiness.set_models(self.catalogue.statuses())

    async def stop(self) -> None:
        """Say not ready, refuse new requests, finish running ones within the grace, then close everything."""
        log.info("stopping", grace_seconds=self._settings.grace_seconds)
        await self._readiness.set_stopping()
        self._board.stop()
        await self._finish()
        await self._drawing.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.catalogue.close()
        self._exporting.copy()
        self._gate.tell()
        self._turns.close()
        log.info("stopped")

    async def _finish(self) -> None:
        """Stop when smalti's own requests are answered. Waiting for health watchers, too, would use up the grace."""
        await self._server.stop_accepting()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.grace_seconds):
                await self._gate.wait_until_idle(quiet_seconds=_QUIET_SECONDS)
        await self._server.close(seconds=_SEND_SECONDS)


def _turning_threads(settings: ServerSettings) -> int:
    """Half of this process's cores: graphs and the event loop need the others."""
    return max(1, (os.cpu_count() or 1) // settings.server_processes // 2)


def _call_limits(settings: ServerSettings) -> CallLimits:
    return CallLimits(answered=settings.max_calls, open=settings.max_open_calls)


def _queue_limits(settings: ServerSettings) -> QueueLimits:
    return QueueLimits(
        jobs=settings.max_queued_jobs,
        pixels=settings.max_queued_pixels,
        result_bytes=settings.max_result_bytes,
        samples_per_job=settings.max_job_samples,
        client=ClientLimits(
            jobs=settings.max_client_jobs,
            pixels=settings.max_client_pixels,
            result_bytes=settings.max_client_result_bytes,
        ),
    )


def _watcher_limits(settings: ServerSettings) -> WatcherLimits:
    return WatcherLimits(in_all=settings.max_watchers, per_client=settings.max_watchers_per_client)


def _catalogue(settings: ServerSettings, pool: Executor) -> Catalogue:
    return Catalogue(
        ModelRepository(settings.model_repository),
        pool,
        provider=settings.provider,
        batching=Batching(
            max_batch_size=settings.max_batch,
            max_queue_delay_microseconds=round(settings.max_queue_delay_seconds * 1e6),
            max_queue_size=settings.max_waiting,
        ),
    )


def _limits(settings: ServerSettings) -> RequestLimits:
    return RequestLimits(
        images=settings.max_images,
        response_bytes=settings.max_message_bytes,
        retention_seconds=settings.max_retention_seconds,
        default_retention_seconds=min(settings.default_retention_seconds, settings.max_retention_seconds),
        webhooks=Targets(settings.webhook_targets),
    )


def _deliveries(settings: ServerSettings, shards: Shards, secret: Secret) -> Sequence[Delivery]:
    """One for each part of the queue."""
    targets = Targets(settings.webhook_targets)
    require_secret(targets, settings.webhook_secret_file)
    networks = Networks(settings.webhook_networks)
    return [Delivery(WebhookQueue(store), targets, networks, secret) for store in shards.all]


def _raise_failures(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _first_failure(tasks: Sequence[asyncio.Task[None]]) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def _named(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=name)
