"""Knows which versions of models are served: loads them, finds them by name, unloads them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog

from server.oneshot.batcher import Batcher
from server.oneshot.runner import Runner, oneshot_graphs
from server.oneshot.statistics import GraphStatistics
from server.oneshot.waiting import Arrays
from server.oneshot.warming import open_runners
from smalti import palette
from smalti.errors import (
    GraphNotServed,
    InvalidRequest,
    ModelNotFound,
    ProviderMissing,
    RepositoryDamaged,
    SmaltiError,
    Unavailable,
    did_you_mean,
)
from smalti.printable import printable
from smalti.runtime import serving_file
from smalti.runtime.batching import Batching
from smalti.runtime.following import Following, Found
from smalti.runtime.inventory import LeftOut
from smalti.runtime.manifest import Manifest
from smalti.runtime.names import LONGEST_NAME
from smalti.runtime.provider import Provider
from smalti.runtime.repository import SERVING, TRITON_CONFIG, Model, ModelRepository, read

log = structlog.get_logger()
Result = TypeVar("Result")
_LONG_SECONDS = 5.0  # of loading, after which people wonder
Unloaded = list[list[Any]]  # for each version its name, its number, and the state that its files had; as JSON


class Stored(NamedTuple):
    """A version in the repository."""

    name: str
    number: int
    has_manifest: bool  # if not, it is an ONNX file without images
    manifest: Manifest | None  # None: there is none, or it cannot be read
    reason: str  # why it is not served, if it is not


class ServedModel:
    """One loaded version: its manifest, and a batcher for each of its one-shot graphs."""

    def __init__(
        self, manifest: Manifest, runners: Mapping[str, Runner], batching: Mapping[str, Batching]
    ) -> None:
        self.manifest = manifest
        self.digest = manifest.digest
        self.drawing = GraphStatistics()  # of drawings that clients of Triton ask for; jobs draw them
        self.palette = palette.parse(manifest.palette)  # (colours, 3) uint8
        self._batchers = {
            graph: Batcher(
                runner,
                batching=batching[graph],
                model=manifest.name,
                graph=graph,
                is_batched=manifest.graph(graph).is_batched,
            )
            for graph, runner in runners.items()
        }

    async def ask(
        self,
        graph: str,
        inputs: Arrays,
        *,
        deadline: float | None = None,
        priority: int = 0,
        timeout_seconds: float | None = None,
    ) -> Arrays:
        """A graph's outputs for these inputs; raises GraphNotServed, and whatever Batcher.ask raises.

        `deadline` is by the event loop's clock. `priority` 1 is served first, 0 is the graph's default;
        `timeout_seconds` limits how long the request waits for its run. Both count as `batching` allows.
        """
        return await self._batcher(graph).ask(
            inputs, deadline=deadline, priority=priority, timeout_seconds=timeout_seconds
        )

    def batching(self, graph: str) -> Batching:
        """How requests for this graph share runs; raises GraphNotServed."""
        return self._batcher(graph).batching

    def apply(self, batching: Mapping[str, Batching]) -> list[str]:
        """From now on share runs like this, by graph; requests that wait go on waiting.

        Returns the graphs for which this is new.
        """
        changed = [graph for graph, batcher in self._batchers.items() if batcher.batching != batching[graph]]
        for graph in changed:
            self._batchers[graph].batching = batching[graph]
        return changed

    def statistics(self, graph: str) -> GraphStatistics:
        """What this graph has done since it was loaded; raises GraphNotServed."""
        return self._batcher(graph).statistics

    def waiting(self, graph: str) -> int:
        """How many requests for this graph wait for a run; raises GraphNotServed."""
        return self._batcher(graph).waiting

    def _batcher(self, graph: str) -> Batcher:
        if batcher := self._batchers.get(graph):
            return batcher
        self.manifest.graph(graph)  # says which graphs there are
        raise GraphNotServed(f"Graph '{graph}' of {self.manifest.name} answers no one-shot requests.")

    async def close(self) -> None:
        """Answer the requests that wait, then stop."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))


class Catalogue:
    """The served versions of every model: those in the repository that can be served and were not unloaded.

    A new export in the same place replaces the old one. A version that vanishes from the repository is still served:
    it may come back in a moment. A new serving.toml counts at once, and a wrong one leaves the knobs as they were. An
    unloaded version stays unloaded until it is loaded or its files change.
    """

    def __init__(
        self,
        repository: ModelRepository,
        pool: Executor,
        *,
        provider: Provider,
        batching: Batching,
    ) -> None:
        self._repository = repository
        self._pool = pool
        self._provider = provider
        self._batching = batching
        self._following = Following(repository)
        self._served: dict[str, dict[int, ServedModel]] = {}
        # The last known digest of each version, also of unloaded ones.
        self._latest: dict[tuple[str, int], str] = {}
        self.revision = 0  # grows with every version that is served, replaced or unloaded
        self._closing: set[asyncio.Task[None]] = set()  # versions that were replaced
        self._has_started = False
        self._pending: set[tuple[str, int]] = set()  # versions that were found and not yet tried
        self._loading = asyncio.Lock()  # one at a time: loading is slow, and loading a model twice is waste

    def get(self, name: str, version: int = 0, *, field: str = "model.name") -> ServedModel:
        """A served version, 0 for the latest; raises ModelNotFound, or Unavailable if it may still be loaded.

        `field` is the field of the request that holds the name.
        """
        check_name(name, field=field)
        versions = self._served.get(name)
        if not self._has_started:
            self._refuse_pending(name, version)
        if not versions:
            meant = did_you_mean(name, sorted(self._served))
            raise ModelNotFound(
                f"There is no model '{printable(name)}' here{meant}; there is {_listed(self._served)}."
                f"{self._why_not(name)}"
            )
        found = versions.get(version or max(versions))
        if found is None:
            raise ModelNotFound(
                f"Model '{printable(name)}' has no version {version} here; it has {_listed(versions)}."
                f"{self._why_not(name, str(version))}"
            )
        return found

    def require_started(self) -> None:
        """Raise Unavailable until every model that was in the repository at the start has been loaded."""
        if not self._has_started:
            raise Unavailable("The server is still loading its models: try again in a moment.")

    def _refuse_pending(self, name: str, version: int) -> None:
        """During the start, raise Unavailable if this version may still be loaded (0: any version of the model)."""
        served, is_pending = self._served.get(name, {}), any(each == name for each, _ in self._pending)
        if not served or (version not in served if version else is_pending):
            self.require_started()

    def _why_not(self, *parts: str) -> str:
        """Why a model or a version was left out, as the end of a message; empty if it was not."""
        place = "/".join(parts)
        reasons = (each.reason for each in self.left_out if f"{each.place}/".startswith(f"{place}/"))
        return next((f" Left out: {reason}" for reason in reasons), "")

    def models(self) -> list[ServedModel]:
        """Every served version, by name and version."""
        return [
            self._served[name][version]
            for name in sorted(self._served)
            for version in sorted(self._served[name])
        ]

    @property
    def left_out(self) -> list[LeftOut]:
        """What is in the repository and cannot be served as it is now, and why."""
        return self._following.left_out

    async def not_served(self) -> list[Stored]:
        """The versions in the repository that are not served."""
        return await self._off_the_loop(self._not_served)

    async def stored(self, name: str) -> list[Stored]:
        """The versions of a model in the repository, ascending, served or not; empty if there is no such model."""
        return await self._off_the_loop(
            lambda: self._described(name, self._repository.models().get(name, ()))
        )

    def _not_served(self) -> list[Stored]:
        return [
            stored
            for name, numbers in self._repository.models().items()
            for stored in self._described(name, numbers)
            if not self._is_served(name, stored.number)
        ]

    def _described(self, name: str, numbers: Iterable[int]) -> list[Stored]:
        reasons = {each.place: each.reason for each in self.left_out}
        unloaded = {found[:2] for found in self._following.taken()}
        return [
            Stored(
                name,
                number,
                self._repository.has_manifest(name, number),
                _manifest(self._repository.root / name / str(number)),
                reasons.get(f"{name}/{number}") or ("unloaded" if (name, number) in unloaded else "loading"),
            )
            for number in numbers
        ]

    def reasons(self, name: str) -> dict[int, str]:
        """Why the known versions of a model that are not served are not, by number."""
        found = {each.number: "unloaded" for each in self._following.taken() if each.name == name}
        for each in self.left_out:
            owner, _, number = each.place.partition("/")
            if owner == name and number.isdecimal():
                found[int(number)] = each.reason
        return {number: reason for number, reason in found.items() if not self._is_served(name, number)}

    def statuses(self) -> dict[str, bool]:
        """For each model in the repository, whether any version of it is served."""
        places = (each.place.split("/")[0] for each in self.left_out if "/" in each.place)
        return dict.fromkeys(places, False) | dict.fromkeys(self._served, True)

    def is_replaced(self, name: str, version: int, digest: str) -> bool:
        """Whether another export has this name and version now."""
        return self._latest.get((name, version), digest) != digest

    async def follow(self) -> None:
        """Serve what is new in the repository. What cannot be served is left out, and logged once.

        Raises ProviderMissing, because no model can be served then.
        """
        async with self._loading:
            news = await self._off_the_loop(self._following.look)
            self._pending = {(found.name, found.number) for found in news}
            for found in news:
                await self._try(found)
                self._pending.discard((found.name, found.number))
            self._has_started = True

    async def load(self, name: str, version: int = 0) -> ServedModel:
        """Serve a version as it is in the repository now, 0 for the latest one that can be served.

        Raises ModelNotFound or RepositoryDamaged. Where no version can be served, the error is about the latest.
        """
        check_name(name, field="name")
        async with self._loading:
            if version:
                return await self._load(name, version)
            return await self._load_latest(name)

    async def _load_latest(self, name: str) -> ServedModel:
        models = await self._off_the_loop(self._repository.models)
        faults = []
        for number in reversed(models.get(name, ())):
            try:
                return await self._load(name, number)
            except RepositoryDamaged as error:
                faults.append(error)
                still_served = self._is_served(name, number)
                leave_out = partial(self._following.leave_out, name, number, error, still_served=still_served)
                await self._off_the_loop(leave_out)
        if faults:
            raise faults[0]
        return await self._serve(await self._read(name, None))  # raises ModelNotFound

    async def _load(self, name: str, version: int) -> ServedModel:
        served = await self._serve(await self._read(name, version))
        await self._off_the_loop(partial(self._following.settle, name, version))
        return served

    async def unload(self, name: str, version: int = 0) -> None:
        """Stop serving a version, 0 for all; running requests are answered. Raises ModelNotFound."""
        self.get(name, version, field="name")
        async with self._loading:
            versions = self._served.get(name, {})
            gone = [versions.pop(each) for each in list(versions) if version in (0, each)]
            self.revision += 1
            if not versions:
                self._served.pop(name, None)
            await self._off_the_loop(partial(self._following.settle, name, version))
        await asyncio.gather(*(model.close() for model in gone))
        log.info("model unloaded", model=name, version=version or "all")

    def unloaded(self) -> Unloaded:
        """The versions that were unloaded, and stay so until their files change."""
        taken = self._following.taken()
        return [list(found) for found in taken if found.number not in self._served.get(found.name, {})]

    def leave_unloaded(self, versions: Unloaded) -> None:
        """Do not serve versions that another process of the server has unloaded; call it before `follow`."""
        for name, number, state in versions:
            self._following.take(Found(name, number, tuple((each[0], *each[1:]) for each in state)))

    async def close(self) -> None:
        """Answer the requests that wait, and unload every model."""
        await asyncio.gather(*(model.close() for model in self.models()), *self._closing)
        self._served.clear()

    async def _try(self, found: Found) -> None:
        try:
            await self._serve(await self._read(found.name, found.number))
            self._following.take(found)
        except ProviderMissing:
            raise
        except SmaltiError as error:
            still_served = self._is_served(found.name, found.number)
            self._following.fail(found, error, still_served=still_served)

    def _is_served(self, name: str, number: int) -> bool:
        return number in self._served.get(name, {})

    async def _read(self, name: str, version: int | None) -> Model:
        return await self._off_the_loop(partial(self._repository.load, name, version))

    async def _serve(self, model: Model) -> ServedModel:
        """Serve it in place of an old export of this version; if the digest is the same, replace only the manifest."""
        manifest = model.manifest
        before = self._served.get(manifest.name, {}).get(manifest.version)
        batching = await self._off_the_loop(partial(self._knobs, manifest))
        if before and before.digest == manifest.digest:
            before.manifest = manifest
            if changed := before.apply(batching):
                log.info("new knobs", model=manifest.name, version=manifest.version, graphs=sorted(changed))
            return before
        served = await self._open(model, batching)
        self._served.setdefault(manifest.name, {})[manifest.version] = served
        self._latest[manifest.name, manifest.version] = served.digest
        self.revision += 1
        if before:
            log.info("model replaced", model=manifest.name, version=manifest.version)
            self._close_soon(before)
        return served

    def _close_soon(self, model: ServedModel) -> None:
        """Close it when its last runs have ended; loading other models does not wait for them."""
        closing = asyncio.create_task(model.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _knobs(self, manifest: Manifest) -> Mapping[str, Batching]:
        """How each graph for one-shot requests shares its runs; raises RepositoryDamaged."""
        content = self._repository.serving(manifest.name)
        try:
            return serving_file.parse(content, oneshot_graphs(manifest), self._batching)
        except ValueError as error:
            fault = printable(str(error), longest=300)
            raise RepositoryDamaged(f"{manifest.name}/{SERVING} cannot be used: {fault}.") from error

    async def _open(self, model: Model, batching: Mapping[str, Batching]) -> ServedModel:
        manifest = model.manifest
        opening = partial(
            open_runners,
            model,
            self._pool,
            provider=self._provider,
            warm_entries={graph: knobs.max_batch_size for graph, knobs in batching.items()},
        )
        told = asyncio.get_running_loop().call_later(_LONG_SECONDS, _tell_of_long_loading, manifest)
        try:
            runners = await self._off_the_loop(opening)
        finally:
            told.cancel()
        log.info("model served", model=manifest.name, version=manifest.version, graphs=sorted(runners))
        self._tell_of_triton_config(manifest)
        # In an empty context: its tasks outlive the RPC that loads it, and must not log that RPC's id for ever.
        return Context().run(ServedModel, manifest, runners, batching)

    def _tell_of_triton_config(self, manifest: Manifest) -> None:
        """Log, once while the model is served, that a file is not read from which Triton would know it."""
        is_first = manifest.name not in self._served
        if is_first and not manifest.has_images and self._repository.has_triton_config(manifest.name):
            log.info(
                "a configuration for Triton is not read: the ONNX file and serving.toml say how a model is served",
                file=f"{manifest.name}/{TRITON_CONFIG}",
            )

    async def _off_the_loop(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _tell_of_long_loading(manifest: Manifest) -> None:
    log.warning(
        "a model takes long to load, and the next ones wait for it",
        model=manifest.name,
        version=manifest.version,
    )


def _manifest(folder: Path) -> Manifest | None:
    try:
        return read(folder).manifest
    except RepositoryDamaged:
        return None


def check_name(name: str, *, field: str) -> None:
    """Raise InvalidRequest if the name is empty, or too long to be repeated in an error."""
    if not name or len(name) > LONGEST_NAME:
        raise InvalidRequest(f"Name a model, in 1 to {LONGEST_NAME} characters.", field=field)


def _listed(names: Mapping[str, object] | Mapping[int, object]) -> str:
    return ", ".join(str(name) for name in sorted(names)) or "none"
