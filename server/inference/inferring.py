"""Answers ModelInfer: reads the request, asks the graph, and writes the response."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from server.inference.naming import ProtocolModel, ProtocolModels
from server.inference.requests import Asked, is_slow_to_read, read
from server.inference.responses import is_slow_to_write, write
from server.inference.shared_memory import Regions
from server.oneshot.waiting import Arrays
from smalti.errors import Unsupported

Result = TypeVar("Result")


class Inferring:
    """Answers requests for one response each."""

    def __init__(self, models: ProtocolModels, regions: Regions, pool: Executor) -> None:
        self._models = models
        self._regions = regions
        self._pool = pool

    async def infer(self, request: Any, deadline: float | None) -> bytes:
        """The bytes of the response.

        Raises InvalidRequest, Unsupported, ModelNotFound, and what ServedModel.ask raises.
        """
        model = self._models.get(request.model_name, request.model_version)
        if model.is_decoupled:
            raise Unsupported(
                f"ModelInfer RPC doesn't support models with decoupled transaction policy, such as '{model.name}': "
                "use ModelStreamInfer."
            )
        return await self.respond(model, request, deadline)

    async def respond(
        self, model: ProtocolModel, request: Any, deadline: float | None, *, last: bool | None = None
    ) -> bytes:
        """The response of a model that is not decoupled; `last` as in responses.write."""
        asked = await self.read(model, request)
        outputs = await model.served.ask(
            model.graph,
            asked.inputs,
            deadline=deadline,
            priority=asked.options.priority,
            timeout_seconds=asked.options.timeout_seconds,
        )
        return await self.write(model, request, outputs, asked, last=last)

    async def write(
        self, model: ProtocolModel, request: Any, outputs: Arrays, asked: Asked, *, last: bool | None = None
    ) -> bytes:
        """One response to a request that was read."""
        writing = partial(write, model, request.id, outputs, asked.outputs, self._regions, last=last)
        return await self._done(writing, is_slow=is_slow_to_write(outputs, asked.outputs))

    async def read(self, model: ProtocolModel, request: Any) -> Asked:
        """A request, checked; raises what requests.read raises."""
        reading = partial(read, model, request, self._regions)
        return await self._done(reading, is_slow=is_slow_to_read(model.kind, request))

    async def _done(self, work: Callable[[], Result], *, is_slow: bool) -> Result:
        """What the work gives; if it is slow, it is done in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work) if is_slow else work()
