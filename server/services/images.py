"""Answers ImageService: one-shot requests, and one image drawn row by row through the queue."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from server.context import Context, deadline_of
from server.messages import checks, images, latents
from server.messages.abilities import require_generator, require_score
from server.messages.checks import RequestLimits
from server.messages.descriptions import SCORE_KINDS
from server.messages.images import GivenImages
from server.oneshot import points
from server.oneshot.catalogue import Catalogue, ServedModel
from server.queued.drawing import StreamedDrawing
from smalti.v1 import images_pb2 as pb
from smalti.v1 import images_pb2_grpc, types_pb2

Result = TypeVar("Result")


class ImageService(images_pb2_grpc.ImageServiceServicer):
    """Checks requests, asks the models' graphs, and writes what they give into messages."""

    def __init__(
        self, catalogue: Catalogue, pool: Executor, drawing: StreamedDrawing, limits: RequestLimits
    ) -> None:
        self._catalogue = catalogue
        self._pool = pool
        self._drawing = drawing
        self._limits = limits

    async def Draw(self, request: pb.DrawRequest, context: Context) -> pb.DrawResponse:
        form = checks.image_format_of(request.format)
        model = self._find(request.model)
        require_generator(model.manifest, instead="it draws row by row: submit a job")
        count = self._count(request.count or 1, model, "count")
        checks.check_indices(request.first_index, count)
        seed = request.seed if request.HasField("seed") else secrets.randbits(64)
        drawn = points.random(seed, request.first_index, count, model.manifest.latent_size)
        decoded = await self._decoded(model, drawn, form, context)
        return pb.DrawResponse(model=_version(model), seed=seed, images=decoded)

    async def DrawStream(
        self, request: pb.DrawStreamRequest, context: Context
    ) -> AsyncIterator[pb.DrawStreamResponse]:
        model = self._find(request.model)
        async for event in self._drawing.draw(model, request):
            yield event

    async def Encode(self, request: pb.EncodeRequest, context: Context) -> pb.EncodeResponse:
        model = self._find(request.model)
        model.manifest.graph("encode")
        given = await self._read(model, request.images)
        outputs = await model.ask("encode", {"pixels": given.pixels}, deadline=deadline_of(context))
        deviations = outputs.get("log_deviation")
        return pb.EncodeResponse(
            model=_version(model),
            means=latents.write(outputs["mean"]),
            log_deviations=[] if deviations is None else latents.write(deviations),
            colour_change=given.colour_change,
        )

    async def Decode(self, request: pb.DecodeRequest, context: Context) -> pb.DecodeResponse:
        form = checks.image_format_of(request.format)
        model = self._find(request.model)
        require_generator(model.manifest)
        self._count(len(request.latents), model, "latents")
        given = latents.read(request.latents, model.manifest.latent_size)
        decoded = await self._decoded(model, given, form, context)
        return pb.DecodeResponse(model=_version(model), images=decoded)

    async def Reconstruct(self, request: pb.ReconstructRequest, context: Context) -> pb.ReconstructResponse:
        form = checks.image_format_of(request.format)
        model = self._find(request.model)
        require_generator(model.manifest)
        means, given = await self._encoded(model, request.images, context)
        decoded = await self._decoded(model, means, form, context)
        return pb.ReconstructResponse(
            model=_version(model), images=decoded, colour_change=given.colour_change
        )

    async def Interpolate(self, request: pb.InterpolateRequest, context: Context) -> pb.InterpolateResponse:
        form = checks.image_format_of(request.format)
        model = self._find(request.model)
        require_generator(model.manifest)
        steps = self._count(checks.steps_of(request.steps), model, "steps")
        ends = [request.first, request.last]
        (first, last), given = await self._encoded(model, ends, context, fields=("first", "last"))
        decoded = await self._decoded(model, points.between(first, last, steps), form, context)
        return pb.InterpolateResponse(
            model=_version(model), images=decoded, colour_change=given.colour_change
        )

    async def Sweep(self, request: pb.SweepRequest, context: Context) -> pb.SweepResponse:
        form = checks.image_format_of(request.format)
        model = self._find(request.model)
        require_generator(model.manifest)
        steps = checks.steps_of(request.steps)
        self._count(steps * steps, model, "steps")
        dimensions = checks.dimensions_of(request.row_dimension, request.column_dimension, model.manifest)
        span = checks.span_of(*_span(request))
        centre, change = await self._centre(model, request, context)
        grid = points.grid(centre, dimensions, span, steps)
        decoded = await self._decoded(model, grid, form, context)
        return pb.SweepResponse(model=_version(model), steps=steps, images=decoded, colour_change=change)

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        model = self._find(request.model)
        score = require_score(model.manifest)
        given = await self._read(model, request.images)
        inputs: dict[str, NDArray[Any]] = {"pixels": given.pixels}
        if "noise" in model.manifest.graph(score.graph).signature.inputs:
            inputs["noise"] = points.random(request.seed, 0, len(given.pixels), model.manifest.latent_size)
        outputs = await model.ask(score.graph, inputs, deadline=deadline_of(context))
        scores = outputs[score.output].reshape(len(given.pixels), -1).sum(axis=1, dtype=np.float64)
        return pb.ScoreResponse(
            model=_version(model),
            kind=SCORE_KINDS[score.kind],
            scores=scores.tolist(),
            colour_change=given.colour_change,
        )

    def _find(self, version: types_pb2.ModelVersion) -> ServedModel:
        model = self._catalogue.get(version.name, version.version)
        model.manifest.require_images()
        return model

    def _count(self, count: int, model: ServedModel, field: str) -> int:
        return checks.check_images(count, model.manifest, self._limits, field=field)

    async def _centre(
        self, model: ServedModel, request: pb.SweepRequest, context: Context
    ) -> tuple[NDArray[np.float32], types_pb2.ColourChange]:
        if not request.HasField("image"):
            return np.zeros(model.manifest.latent_size, dtype=np.float32), types_pb2.ColourChange()
        (centre,), given = await self._encoded(model, [request.image], context, fields=("image",))
        return centre, given.colour_change

    async def _encoded(
        self,
        model: ServedModel,
        messages: Sequence[types_pb2.Image],
        context: Context,
        fields: Sequence[str] = ("images",),
    ) -> tuple[NDArray[np.float32], GivenImages]:
        model.manifest.graph("encode")
        given = await self._read(model, messages, fields)
        outputs = await model.ask("encode", {"pixels": given.pixels}, deadline=deadline_of(context))
        return outputs["mean"], given

    async def _decoded(
        self,
        model: ServedModel,
        latent: NDArray[np.float32],
        form: types_pb2.ImageFormat,
        context: Context,
    ) -> list[types_pb2.Image]:
        graph = require_generator(model.manifest)
        outputs = await model.ask(graph, {"latent": latent}, deadline=deadline_of(context))
        write = partial(images.write, model, outputs["pixels"], form)
        return write() if form == types_pb2.IMAGE_FORMAT_PIXELS else await self._off_the_loop(write)

    async def _read(
        self, model: ServedModel, messages: Sequence[types_pb2.Image], fields: Sequence[str] = ("images",)
    ) -> GivenImages:
        self._count(len(messages), model, fields[0])
        return await self._off_the_loop(partial(images.read, model, messages, fields=fields))

    async def _off_the_loop(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _span(request: pb.SweepRequest) -> tuple[float, float]:
    low = request.low if request.HasField("low") else -3.0
    high = request.high if request.HasField("high") else 3.0
    return low, high


def _version(model: ServedModel) -> types_pb2.ModelVersion:
    manifest = model.manifest
    return types_pb2.ModelVersion(name=manifest.name, version=manifest.version, digest=model.digest)
