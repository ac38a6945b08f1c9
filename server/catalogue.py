"""Which model versions are served now: loads them, finds them by name, lets them go."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

import structlog

from server.batcher import Arrays, Batcher, BatchLimits
from server.runner import Runner, SessionOptions, open_runners
from smalti import palette
from smalti.errors import InvalidRequest, ModelNotFound, ProviderMissing, SmaltiError, did_you_mean
from smalti.repository import Manifest, Model, ModelRepository

log = structlog.get_logger()
Result = TypeVar("Result")
_LONGEST_NAME = 63


class ServedModel:
    """One version that is loaded: what is known of it, and a batcher for each of its one-shot graphs."""

    def __init__(self, manifest: Manifest, runners: Mapping[str, Runner], limits: BatchLimits) -> None:
        self.manifest = manifest
        self.digest = manifest.digest
        self.palette = palette.parse(manifest.palette)  # (colours, 3) uint8
        self._batchers = {
            graph: Batcher(runner, limits=limits, model=manifest.name, graph=graph)
            for graph, runner in runners.items()
        }

    async def ask(self, graph: str, inputs: Arrays, *, deadline: float | None = None) -> Arrays:
        """Outputs of a graph for rows of inputs; raises GraphNotServed, and what Batcher.ask raises."""
        self.manifest.graph(graph)
        return await self._batchers[graph].ask(inputs, deadline=deadline)

    async def close(self) -> None:
        """Answer what waits, and stop."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))


class Catalogue:
    """The served versions of every model."""

    def __init__(
        self,
        repository: ModelRepository,
        pool: Executor,
        *,
        options: SessionOptions,
        limits: BatchLimits,
    ) -> None:
        self._repository = repository
        self._pool = pool
        self._options = options
        self._limits = limits
        self._served: dict[str, dict[int, ServedModel]] = {}
        self._loading = asyncio.Lock()  # one at a time: loading is heavy, and twice the same is waste

    def get(self, name: str, version: int = 0) -> ServedModel:
        """A served version, 0 the latest; raises ModelNotFound."""
        check_name(name)
        versions = self._served.get(name)
        if not versions:
            meant = did_you_mean(name, sorted(self._served))
            raise ModelNotFound(f"There is no model '{name}' here{meant}; there is {_listed(self._served)}.")
        found = versions.get(version or max(versions))
        if found is None:
            raise ModelNotFound(f"Model '{name}' has no version {version} here; it has {_listed(versions)}.")
        return found

    def models(self) -> list[ServedModel]:
        """Every served version, by name and version."""
        return [
            self._served[name][version]
            for name in sorted(self._served)
            for version in sorted(self._served[name])
        ]

    async def load_all(self) -> list[str]:
        """Load every version in the repository; what cannot be loaded is logged, and its name returned.

        Raises ProviderMissing, as then none can be.
        """
        failed = []
        for name, versions in self._repository.models().items():
            for version in versions:
                try:
                    await self.load(name, version)
                except ProviderMissing:
                    raise
                except SmaltiError as error:
                    log.error("model not served", model=name, version=version, error=str(error))
                    failed.append(name)
        return failed

    async def load(self, name: str, version: int = 0) -> ServedModel:
        """Serve a version of the repository, 0 the latest; raises ModelNotFound or RepositoryDamaged."""
        check_name(name)
        async with self._loading:
            model = await self._off_the_loop(partial(self._repository.load, name, version or None))
            served = self._served.get(name, {}).get(model.manifest.version)
            return served or await self._open(model)

    async def unload(self, name: str, version: int = 0) -> None:
        """Serve a version no more, 0 every version; what runs is answered. Raises ModelNotFound."""
        self.get(name, version)
        async with self._loading:
            versions = self._served.get(name, {})
            gone = [versions.pop(each) for each in list(versions) if version in (0, each)]
            if not versions:
                self._served.pop(name, None)
        await asyncio.gather(*(model.close() for model in gone))
        log.info("model unloaded", model=name, version=version or "all")

    async def close(self) -> None:
        """Answer what waits, and let every model go."""
        await asyncio.gather(*(model.close() for model in self.models()))
        self._served.clear()

    async def _open(self, model: Model) -> ServedModel:
        runners = await self._off_the_loop(
            partial(open_runners, model, self._pool, options=self._options, warm_rows=self._limits.rows)
        )
        manifest = model.manifest
        served = ServedModel(manifest, runners, self._limits)
        self._served.setdefault(manifest.name, {})[manifest.version] = served
        log.info("model served", model=manifest.name, version=manifest.version, graphs=sorted(runners))
        return served

    async def _off_the_loop(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def check_name(name: str) -> None:
    """Raise InvalidRequest where a name is none, or too long to be repeated in an error."""
    if not name or len(name) > _LONGEST_NAME:
        raise InvalidRequest(f"Name a model, in 1 to {_LONGEST_NAME} characters.", field="model.name")


def _listed(names: Mapping[str, object] | Mapping[int, object]) -> str:
    return ", ".join(str(name) for name in sorted(names)) or "none"
