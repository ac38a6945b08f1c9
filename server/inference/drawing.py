"""Answers the decoupled model `draw`: a job of one interactive sample, and arrays for each of its rows."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from server.caller import caller
from server.inference.naming import ProtocolModel
from server.oneshot.statistics import RunTimes
from server.oneshot.waiting import Arrays
from server.queued.drawing import StreamedDrawing
from smalti.errors import InvalidRequest
from smalti.pixels import number_type
from smalti.runtime.manifest import Manifest
from smalti.v1 import images_pb2, types_pb2

_KEPT = "prefix"  # the input with the first pixels of the image in raster order, which are kept


class Drawing:
    """Draws through the queue, as DrawStream does."""

    def __init__(self, drawing: StreamedDrawing) -> None:
        self._drawing = drawing

    async def rows(self, model: ProtocolModel, inputs: Arrays) -> AsyncGenerator[Arrays, None]:
        """The outputs of each row, from the top. Closing this early cancels the job.

        Raises InvalidRequest, NotPermitted for a client that may have no jobs, and what StreamedDrawing.draw raises.
        """
        caller().require("jobs")
        marks = [perf_counter_ns()]
        try:
            async with aclosing(self._rows(model, inputs)) as rows:
                async for row in rows:
                    marks.append(perf_counter_ns())
                    model.served.drawing.add_response(len(marks) - 2, marks[-1] - marks[-2])
                    yield row
        except BaseException as error:
            model.served.drawing.add_failure(perf_counter_ns() - marks[0], error)
            raise
        _count(model, marks)

    async def _rows(self, model: ProtocolModel, inputs: Arrays) -> AsyncGenerator[Arrays, None]:
        request, seed = _request(model.served.manifest, inputs), 0
        async with aclosing(self._drawing.draw(model.served, request)) as events:
            async for event in events:
                if event.HasField("started"):
                    seed = event.started.seed
                for row, pixels in _rows_of(event.rows, model.served.manifest):
                    yield {
                        "row": np.array([row], dtype=np.int64),
                        "pixels": pixels,
                        "seed": np.array([seed], dtype=np.uint64),
                    }


def _count(model: ProtocolModel, marks: list[int]) -> None:
    """A drawing has waited until its first row came, and was computed until its last one."""
    asked, first, last = marks[0], marks[1], marks[-1]
    times = RunTimes(0, last - first, 0)
    model.served.drawing.add_run(1, times)
    model.served.drawing.add_success(1, whole=last - asked, queue=first - asked, times=times)


def _request(manifest: Manifest, inputs: Arrays) -> images_pb2.DrawStreamRequest:
    request = images_pb2.DrawStreamRequest(format=types_pb2.IMAGE_FORMAT_PIXELS)
    if "seed" in inputs:
        request.seed = int(inputs["seed"][0])
    if "temperature" in inputs:
        request.temperature = float(inputs["temperature"][0])
    if _KEPT in inputs:
        request.completion.CopyFrom(_completion(manifest, inputs[_KEPT]))
    return request


def _completion(manifest: Manifest, first_pixels: NDArray[np.int64]) -> images_pb2.Completion:
    """The completion of an image whose first pixels in raster order are kept."""
    kept, total = len(first_pixels), manifest.height * manifest.width
    if kept > total:
        raise InvalidRequest(
            f"input '{_KEPT}' has {kept} pixels, but the image only {total}.", field="inputs"
        )
    pixels = np.zeros(total, dtype=number_type(len(manifest.palette)))
    pixels[:kept] = first_pixels
    mask = np.zeros(total, dtype=np.uint8)
    mask[:kept] = 1
    image = types_pb2.Pixels(height=manifest.height, width=manifest.width, indices=pixels.tobytes())
    return images_pb2.Completion(image=types_pb2.Image(pixels=image), mask=mask.tobytes())


def _rows_of(drawn: images_pb2.DrawnRows, manifest: Manifest) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The number and the pixels (width,) of each row in an event; none if it has no rows."""
    values = np.frombuffer(drawn.indices, dtype=number_type(len(manifest.palette))).astype(np.int64)
    return enumerate(values.reshape(-1, manifest.width), start=drawn.first_row)
