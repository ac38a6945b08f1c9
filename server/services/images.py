"""Answers ImageService: one-shot requests of VAE, auto-encoder and GAN, scores of all, and one streamed drawing."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from server.messages import checks, pictures
from server.messages.checks import RequestLimits
from server.messages.pictures import Pictures
from server.oneshot import latents
from server.oneshot.catalogue import Catalogue, ServedModel
from server.queued.drawing import StreamedDrawing
from smalti.errors import GraphNotServed
from smalti.v1 import images_pb2 as pb
from smalti.v1 import images_pb2_grpc, types_pb2

Result = TypeVar("Result")
Context = Any  # grpc.aio.ServicerContext, whose stubs and runtime differ
SCORES = {  # of a family: output of its graph, what that number is
    "pixel_rnn": ("logp", pb.SCORE_KIND_LOG_LIKELIHOOD),
    "vae": ("elbo", pb.SCORE_KIND_ELBO),
    "gan": ("probability", pb.SCORE_KIND_REAL_PROBABILITY),
}


class ImageService(images_pb2_grpc.ImageServiceServicer):
    """One-shot requests; whatever is wrong with one is raised as a SmaltiError."""

    def __init__(
        self, catalogue: Catalogue, pool: Executor, drawing: StreamedDrawing, limits: RequestLimits
    ) -> None:
        self._catalogue = catalogue
        self._pool = pool
        self._drawing = drawing
        self._limits = limits

    async def Draw(self, request: pb.DrawRequest, context: Context) -> pb.DrawResponse:
        model = self._find(request.model)
        _generator(model, instead="it draws row by row, by jobs")
        count = self._count(request.count or 1, model, "count")
        checks.check_indices(request.first_index, count)
        seed = request.seed if request.HasField("seed") else secrets.randbits(64)
        points = latents.random(seed, request.first_index, count, model.manifest.latent_size)
        images = await self._decoded(model, points, request.format, context)
        return pb.DrawResponse(model=_version(model), seed=seed, images=images)

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
        outputs = await model.ask("encode", {"pixels": given.pixels}, deadline=_deadline(context))
        uncertain = model.manifest.family == "vae"
        return pb.EncodeResponse(
            model=_version(model),
            means=latents.write(outputs["mean"]),
            log_deviations=latents.write(outputs["log_deviation"]) if uncertain else [],
            colour_change=given.colour_change,
        )

    async def Decode(self, request: pb.DecodeRequest, context: Context) -> pb.DecodeResponse:
        model = self._find(request.model)
        _generator(model)
        self._count(len(request.latents), model, "latents")
        points = latents.read(request.latents, model.manifest.latent_size)
        images = await self._decoded(model, points, request.format, context)
        return pb.DecodeResponse(model=_version(model), images=images)

    async def Reconstruct(self, request: pb.ReconstructRequest, context: Context) -> pb.ReconstructResponse:
        model = self._find(request.model)
        _generator(model)
        points, given = await self._encoded(model, request.images, context)
        images = await self._decoded(model, points, request.format, context)
        return pb.ReconstructResponse(model=_version(model), images=images, colour_change=given.colour_change)

    async def Interpolate(self, request: pb.InterpolateRequest, context: Context) -> pb.InterpolateResponse:
        model = self._find(request.model)
        _generator(model)
        steps = self._count(checks.steps_of(request.steps), model, "steps")
        (first, last), given = await self._encoded(model, [request.first, request.last], context)
        images = await self._decoded(model, latents.between(first, last, steps), request.format, context)
        return pb.InterpolateResponse(model=_version(model), images=images, colour_change=given.colour_change)

    async def Sweep(self, request: pb.SweepRequest, context: Context) -> pb.SweepResponse:
        model = self._find(request.model)
        _generator(model)
        steps = checks.steps_of(request.steps)
        self._count(steps * steps, model, "steps")
        dimensions = checks.dimensions_of(request.row_dimension, request.column_dimension, model.manifest)
        span = checks.span_of(*_span(request))
        centre, change = await self._centre(model, request, context)
        points = latents.grid(centre, dimensions, span, steps)
        images = await self._decoded(model, points, request.format, context)
        return pb.SweepResponse(model=_version(model), steps=steps, images=images, colour_change=change)

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        model = self._find(request.model)
        graph = "discriminate" if model.manifest.family == "gan" else "score"
        model.manifest.graph(graph)
        output, kind = SCORES[model.manifest.family]
        given = await self._read(model, request.images)
        inputs: dict[str, NDArray[Any]] = {"pixels": given.pixels}
        if model.manifest.family == "vae":
            inputs["noise"] = latents.random(request.seed, 0, len(given.pixels), model.manifest.latent_size)
        outputs = await model.ask(graph, inputs, deadline=_deadline(context))
        scores = outputs[output].reshape(len(given.pixels), -1).sum(axis=1, dtype=np.float64)
        return pb.ScoreResponse(
            model=_version(model), kind=kind, scores=scores.tolist(), colour_change=given.colour_change
        )

    def _find(self, version: types_pb2.ModelVersion) -> ServedModel:
        return self._catalogue.get(version.name, version.version)

    def _count(self, count: int, model: ServedModel, field: str) -> int:
        return checks.check_images(count, model.manifest, self._limits, field=field)

    async def _centre(
        self, model: ServedModel, request: pb.SweepRequest, context: Context
    ) -> tuple[NDArray[np.float32], types_pb2.ColourChange]:
        if not request.HasField("image"):
            return np.zeros(model.manifest.latent_size, dtype=np.float32), types_pb2.ColourChange()
        (centre,), given = await self._encoded(model, [request.image], context)
        return centre, given.colour_change

    async def _encoded(
        self, model: ServedModel, images: Sequence[types_pb2.Image], context: Context
    ) -> tuple[NDArray[np.float32], Pictures]:
        model.manifest.graph("encode")
        given = await self._read(model, images)
        outputs = await model.ask("encode", {"pixels": given.pixels}, deadline=_deadline(context))
        return outputs["mean"], given

    async def _decoded(
        self, model: ServedModel, points: NDArray[np.float32], form: int, context: Context
    ) -> list[types_pb2.Image]:
        outputs = await model.ask(_generator(model), {"latent": points}, deadline=_deadline(context))
        write = partial(pictures.write, model, outputs["pixels"], form)
        return write() if form == types_pb2.IMAGE_FORMAT_PIXELS else await self._off_the_loop(write)

    async def _read(self, model: ServedModel, images: Sequence[types_pb2.Image]) -> Pictures:
        self._count(len(images), model, "images")
        return await self._off_the_loop(partial(pictures.read, model, images))

    async def _off_the_loop(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _generator(model: ServedModel, *, instead: str = "") -> str:
    """The graph that turns latents into images; raises GraphNotServed."""
    for graph in ("generate", "decode"):
        if graph in model.manifest.graphs:
            return graph
    advice = f"; {instead}" if instead else ""
    raise GraphNotServed(
        f"{model.manifest.name} is {model.manifest.kind} and has no latent to draw from{advice}."
    )


def _span(request: pb.SweepRequest) -> tuple[float, float]:
    low = request.low if request.HasField("low") else -3.0
    high = request.high if request.HasField("high") else 3.0
    return low, high


def _version(model: ServedModel) -> types_pb2.ModelVersion:
    manifest = model.manifest
    return types_pb2.ModelVersion(name=manifest.name, version=manifest.version, digest=model.digest)


def _deadline(context: Context) -> float | None:
    """The RPC's deadline by the event loop's clock."""
    left = context.time_remaining()
    return None if left is None else asyncio.get_running_loop().time() + left
