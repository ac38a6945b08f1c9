"""Answers ImageService: one-shot requests, and one image drawn row by row through the queue."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.context import Context, deadline_of
from server.messages import checks, latents
from server.messages.abilities import require_generator, require_score
from server.messages.checks import RequestLimits
from server.messages.descriptions import SCORE_KINDS
from server.messages.images import GivenImages
from server.oneshot import points
from server.oneshot.catalogue import Catalogue, ServedModel
from server.oneshot.pictures import Pictures, PictureWork
from server.queued.drawing import StreamedDrawing
from smalti.v1 import images_pb2 as pb
from smalti.v1 import images_pb2_grpc, types_pb2


class ImageService(images_pb2_grpc.ImageServiceServicer):
    """Checks requests, asks the models' graphs, and writes what they give into messages."""

    def __init__(
        self, catalogue: Catalogue, pictures: Pictures, drawing: StreamedDrawing, limits: RequestLimits
    ) -> None:
        self._catalogue = catalogue
        self._pictures = pictures
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
        with self._pictures.admit(model, written=count, form=form, deadline=deadline_of(context)) as work:
            decoded = await _decoded(model, drawn, work)
        return pb.DrawResponse(model=_version(model), seed=seed, images=decoded)

    async def DrawStream(
        self, request: pb.DrawStreamRequest, context: Context
    ) -> AsyncIterator[pb.DrawStreamResponse]:
        model = self._find(request.model)
        async for event in self._drawing.draw(model, request, deadline=deadline_of(context)):
            yield event

    async def Encode(self, request: pb.EncodeRequest, context: Context) -> pb.EncodeResponse:
        model = self._find(request.model)
        model.manifest.graph("encode")
        self._count(len(request.images), model, "images")
        with self._pictures.admit(model, given=request.images, deadline=deadline_of(context)) as work:
            given = await work.read()
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
        count = self._count(len(request.latents), model, "latents")
        given = latents.read(request.latents, model.manifest.latent_size)
        with self._pictures.admit(model, written=count, form=form, deadline=deadline_of(context)) as work:
            decoded = await _decoded(model, given, work)
        return pb.DecodeResponse(model=_version(model), images=decoded)

    async def Reconstruct(self, request: pb.ReconstructRequest, context: Context) -> pb.ReconstructResponse:
        form = checks.image_format_of(request.format)
        model = self._find(request.model)
        require_generator(model.manifest)
        model.manifest.graph("encode")
        count = self._count(len(request.images), model, "images")
        with self._pictures.admit(
            model, given=request.images, written=count, form=form, deadline=deadline_of(context)
        ) as work:
            means, given = await _encoded(model, work)
            decoded = await _decoded(model, means, work)
        return pb.ReconstructResponse(
            model=_version(model), images=decoded, colour_change=given.colour_change
        )

    async def Interpolate(self, request: pb.InterpolateRequest, context: Context) -> pb.InterpolateResponse:
        form = checks.image_format_of(request.format)
        model = self._find(request.model)
        require_generator(model.manifest)
        steps = self._count(checks.steps_of(request.steps), model, "steps")
        model.manifest.graph("encode")
        ends = [request.first, request.last]
        self._count(len(ends), model, "first")
        with self._pictures.admit(
            model,
            given=ends,
            fields=("first", "last"),
            written=steps,
            form=form,
            deadline=deadline_of(context),
        ) as work:
            (first, last), given = await _encoded(model, work)
            decoded = await _decoded(model, points.between(first, last, steps), work)
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
        given = [request.image] if request.HasField("image") else []
        if given:
            model.manifest.graph("encode")
        with self._pictures.admit(
            model,
            given=given,
            fields=("image",),
            written=steps * steps,
            form=form,
            deadline=deadline_of(context),
        ) as work:
            centre, change = await _centre(model, work)
            decoded = await _decoded(model, points.grid(centre, dimensions, span, steps), work)
        return pb.SweepResponse(model=_version(model), steps=steps, images=decoded, colour_change=change)

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        model = self._find(request.model)
        score = require_score(model.manifest)
        self._count(len(request.images), model, "images")
        with self._pictures.admit(model, given=request.images, deadline=deadline_of(context)) as work:
            given = await work.read()
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
    model: ServedModel, work: PictureWork
) -> tuple[NDArray[np.float32], types_pb2.ColourChange]:
    """The latent (latent_size,) in the middle of a sweep: that of the image, or zeros."""
    if not work.given:
        return np.zeros(model.manifest.latent_size, dtype=np.float32), types_pb2.ColourChange()
    (centre,), given = await _encoded(model, work)
    return centre, given.colour_change


async def _encoded(model: ServedModel, work: PictureWork) -> tuple[NDArray[np.float32], GivenImages]:
    given = await work.read()
    outputs = await model.ask("encode", {"pixels": given.pixels}, deadline=work.deadline)
    return outputs["mean"], given


async def _decoded(
    model: ServedModel, latent: NDArray[np.float32], work: PictureWork
) -> list[types_pb2.Image]:
    graph = require_generator(model.manifest)
    outputs = await model.ask(graph, {"latent": latent}, deadline=work.deadline)
    return await work.write(outputs["pixels"])


def _span(request: pb.SweepRequest) -> tuple[float, float]:
    low = request.low if request.HasField("low") else -3.0
    high = request.high if request.HasField("high") else 3.0
    return low, high


def _version(model: ServedModel) -> types_pb2.ModelVersion:
    manifest = model.manifest
    return types_pb2.ModelVersion(name=manifest.name, version=manifest.version, digest=model.digest)
