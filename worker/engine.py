"""Owns the models and the one thread that draws with them."""

import asyncio
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeAlias, TypeVar

import structlog

from smalti.errors import ModelNotFound, RepositoryDamaged, SampleFailed, did_you_mean
from smalti.printable import printable
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.following import Following, Found
from smalti.runtime.manifest import Manifest
from smalti.runtime.metrics import MODEL_LOAD_SECONDS, TICK_ROWS, TICK_SECONDS
from smalti.runtime.provider import CPU, Provider
from smalti.runtime.repository import Model, ModelRepository, read
from smalti.runtime.session import open_graph
from worker.device import BindingSession
from worker.device_runner import DeviceRunner
from worker.runner import Runner
from worker.sample import Lane, Row
from worker.scheduler import Tick

log = structlog.get_logger()
Result = TypeVar("Result")
Rows: TypeAlias = Sequence[Row | SampleFailed]


class DrawsRows(Protocol):
    """What the engine needs of a Runner, on the CPU or on a device."""

    def draw_row(self, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
        """One row for each lane, in order. The state of a slot that is not in the tick is lost."""
        ...

    def warm(self) -> None:
        """Prepare for the first sample."""
        ...


class ModelRunner(DrawsRows, Protocol):
    """The runner of a model; it can make another one for suspects."""

    def apart(self) -> "DrawsRows":
        """Another runner of the same graph, with states of its own."""
        ...


class PendingTick:
    """A tick on its way through the engine: await it for its rows, one for each sample, in order."""

    def __init__(self, tick: Tick, rows: Future[Rows]) -> None:
        self.tick = tick
        self._rows = rows

    def recall(self) -> bool:
        """Cancel it if the engine has not begun it yet. Return True if it was cancelled: nothing of it is drawn."""
        return self._rows.cancel()

    def __await__(self) -> Generator[Any, None, Rows]:
        return asyncio.wrap_future(self._rows).__await__()


class Engine:
    """Draws rows with every PixelRNN of a repository, or with those named, all versions.

    Each model has a runner, which keeps the state of `slots` slots; one thread runs them all. When another export
    replaces a model, both stay ready while this process lives: there may be jobs for the old one.
    """

    def __init__(
        self,
        repository: ModelRepository,
        *,
        slots: int,
        models: Collection[str] = (),
        provider: Provider = CPU,
        gpu_batches: Sequence[int] = (),  # their sizes, on a GPU; none: all slots at once
    ) -> None:
        self._repository = repository
        self._slots = slots
        self._wanted = models
        self._provider = provider
        self._gpu_batches = gpu_batches
        self._manifests: dict[str, Manifest] = {}
        self._runners: dict[str, ModelRunner] = {}
        self._apart: dict[str, DrawsRows] = {}  # runners for suspects, made when there is one
        self._following = Following(repository, names=models)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._busy_since: float | None = None

    @property
    def digests(self) -> Sequence[str]:
        """The digests of all models that are ready."""
        return list(self._runners)

    @property
    def busy_seconds(self) -> float:
        """How long the thread has been busy with its present work, mostly a tick; 0 if it is idle."""
        since = self._busy_since
        return 0.0 if since is None else monotonic() - since

    def manifest(self, digest: str) -> Manifest:
        """The manifest of a model that is ready."""
        return self._manifests[digest]

    def add(self, manifest: Manifest, runner: ModelRunner) -> None:
        """Draw with this model from now on."""
        self._manifests[manifest.digest] = manifest
        self._runners[manifest.digest] = runner

    async def load(self) -> None:
        """Load and warm what is new in the repository; a model that cannot be loaded is logged, once, and left out.

        Raises ProviderMissing if no model can run here.
        """
        for found in await asyncio.to_thread(self._following.look):
            await self._load(found)

    def require(self) -> None:
        """Raise ModelNotFound unless there is something to draw with: the models that were named, or any."""
        ready = {manifest.name for manifest in self._manifests.values()}
        missing = [name for name in self._wanted if name not in ready]
        if missing:
            drawable = self._drawable_models()
            raise ModelNotFound(
                f"SMALTI_MODELS names {printable(missing[0])}, which {self._why_not(missing[0], drawable)}; "
                f"the PixelRNNs in {self._place} are {', '.join(drawable) or 'none'}.{self._why_none()}"
            )
        if not ready:
            raise ModelNotFound(
                f"There is no PixelRNN in {self._place}: export one, or set SMALTI_MODEL_REPOSITORY."
                f"{self._why_none()}"
            )

    def draw(self, tick: Tick) -> PendingTick:
        """Draw one row for each sample of the tick; ticks are drawn one after another, in order of the calls."""
        return PendingTick(tick, self._thread.submit(self._watched, self._draw, tick))

    def close(self) -> None:
        """Let the thread end after its present work."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _draw(self, tick: Tick) -> Rows:
        model = self._manifests[tick.digest].name
        runner = self._runner_apart(tick.digest) if tick.is_apart else self._runners[tick.digest]
        with TICK_SECONDS.labels(model).time():
            rows = runner.draw_row(tick.lanes)
        TICK_ROWS.labels(model).observe(len(tick.lanes))
        return rows

    def _runner_apart(self, digest: str) -> DrawsRows:
        if digest not in self._apart:
            self._apart[digest] = self._runners[digest].apart()
        return self._apart[digest]

    @property
    def _place(self) -> str:
        return printable(str(self._repository.root))

    def _drawable_models(self) -> list[str]:
        """Names of the models whose latest version has `draw_row`."""
        return [
            name
            for name, numbers in self._repository.models().items()
            if self._has_draw_row(name, numbers[-1])
        ]

    def _has_draw_row(self, name: str, number: int) -> bool:
        try:
            return GRAPH in read(self._repository.root / name / str(number)).manifest.graphs
        except RepositoryDamaged:
            return False

    def _why_not(self, name: str, drawable: Sequence[str]) -> str:
        """Why a model named in the settings cannot be drawn with."""
        left_out = self._following.left_out
        reasons = [each.reason for each in left_out if each.place.partition("/")[0] == name]
        if reasons:
            return f"is left out ({reasons[0].rstrip('.')})"
        if name not in self._repository.models():
            return f"is not there{did_you_mean(name, drawable)}"
        return "is not a PixelRNN: the server draws with it, a worker cannot"

    def _why_none(self) -> str:
        """Why the whole repository cannot be read, if that is so."""
        return next((f" {each.reason}" for each in self._following.left_out if not each.place), "")

    async def _load(self, found: Found) -> None:
        if not self._repository.has_manifest(found.name, found.number):
            self._following.take(found)  # an ONNX file, which the server answers
            return
        try:
            model = await asyncio.to_thread(self._repository.load, found.name, found.number)
            if GRAPH in model.manifest.graphs and model.manifest.digest not in self._manifests:
                await self._make_ready(model)  # a model without that graph is drawn by the server
            self._following.take(found)
        except (RepositoryDamaged, ModelNotFound) as error:
            self._following.fail(found, error)

    async def _make_ready(self, model: Model) -> None:
        manifest = model.manifest
        with MODEL_LOAD_SECONDS.labels(manifest.name).time():
            runner = await asyncio.to_thread(self._open, model)
            await self._warm(runner)
        self.add(manifest, runner)
        log.info("model ready", model=manifest.name, version=manifest.version, digest=manifest.digest[:12])

    async def _warm(self, runner: DrawsRows) -> None:
        """Drawing goes on meanwhile; but only the engine's thread may use a GPU."""
        if self._provider.name == "cpu":
            await asyncio.to_thread(runner.warm)
        else:
            await asyncio.wrap_future(self._thread.submit(self._watched, runner.warm))

    def _open(self, model: Model) -> ModelRunner:
        if self._provider.name == "cpu":
            session = open_graph(model, GRAPH, provider=self._provider)
            return Runner(session, model.manifest, slots=self._slots)
        buckets = self._gpu_batches or [self._slots]
        return DeviceRunner(partial(self._open_on_gpu, model), model.manifest, buckets=buckets)

    def _open_on_gpu(self, model: Model, batch: int, captured: bool) -> BindingSession:
        session: BindingSession = open_graph(
            model,
            GRAPH,
            provider=self._provider,
            batch=batch,
            cuda_graph=captured,
        )
        return session

    def _watched(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Do the work, and show in `busy_seconds` how long it takes."""
        self._busy_since = monotonic()
        try:
            return work(*arguments)
        finally:
            self._busy_since = None
