"""Answers ModelInfer: reads the request, asks the graph, and writes the response."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from server.inference.naming import ProtocolModel, ProtocolModels
from server.inference.requests import Asked, is_slow_to_read, read
from server.inference.responses import Parts, is_slow_to_write, write
from server.inference.shared_memory import Regions
from server.oneshot.turns import Turns
from server.oneshot.waiting import Arrays
from smalti.errors import Unsupported

Result = TypeVar("Result")


class Inferring:
    """Answers requests for one response each."""

    def __init__(self, models: ProtocolModels, regions: Regions, turns: Turns) -> None:
        self._models = models
        self._regions = regions
        self._turns = turns

    async def infer(self, request: Any, deadline: float | None) -> Parts:
        """The response in parts.

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
    ) -> Parts:
        """The response of a model that is not decoupled; `last` as in responses.write."""
        asked = await self.read(model, request, deadline)
        outputs = await model.served.ask(
            model.graph,
            asked.inputs,
            deadline=deadline,
            priority=asked.options.priority,
            timeout_seconds=asked.options.timeout_seconds,
        )
        return await self.write(model, request, outputs, asked, deadline, last=last)

    async def write(
        self,
        model: ProtocolModel,
        request: Any,
        outputs: Arrays,
        asked: Asked,
        deadline: float | None,
        *,
        last: bool | None = None,
    ) -> Parts:
        """One response to a request that was read; raises what responses.write raises, and DeadlinePassed."""
        writing = partial(write, model, request.id, outputs, asked.outputs, self._regions, last=last)
        return await self._done(writing, deadline, is_slow=is_slow_to_write(outputs, asked.outputs))

    async def read(self, model: ProtocolModel, request: Any, deadline: float | None) -> Asked:
        """A request, checked; raises what requests.read raises, and DeadlinePassed."""
        reading = partial(read, model, request, self._regions)
        return await self._done(reading, deadline, is_slow=is_slow_to_read(model.kind, request))

    async def _done(self, work: Callable[[], Result], deadline: float | None, *, is_slow: bool) -> Result:
        """What the work gives. If it is slow, it takes its turn with pictures, and other requests go on."""
        if not is_slow:
            return work()
        [result] = await self._turns.run([work], deadline=deadline)
        return result
