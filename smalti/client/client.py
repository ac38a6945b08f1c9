"""The Python client: `Client` for ordinary code, `AsyncClient` for asyncio.

    with Client("localhost:50051") as client:
        client.draw("sprites-vae", count=16).images[0].save("first.png")

Every method raises the errors of `smalti.errors`. Images go in as `smalti.client.values.Image`, Pillow images, paths
or bytes of picture files, or arrays of uint8, one or many, and come out as `Image`. Version 0 of a model is the latest.
Where the id of a job goes, the `Job` does, too.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from smalti.address import parse_address
from smalti.client import messages
from smalti.client.async_client import AsyncClient
from smalti.client.channel import (
    DEFAULT_ADDRESS,
    KEEPALIVE_SECONDS,
    MAX_ANSWER_BYTES,
    PaletteStore,
    hung_up,
    options,
    timeout_of,
)
from smalti.client.failures import Patience, from_rpc
from smalti.client.messages import Call, Palette, PictureCall
from smalti.client.progress import JobProgress
from smalti.client.values import (
    Completion,
    DrawEvent,
    Drawn,
    Encoded,
    Images,
    ImageSource,
    ImageSources,
    Job,
    JobEvent,
    JobOrId,
    Latent,
    LeftOut,
    Model,
    ModelDetails,
    ModelVersion,
    SampleResult,
    Scores,
    Swept,
)
from smalti.errors import Busy, SmaltiError, Unavailable
from smalti.jobs.job import JobClass
from smalti.pixels import bytes_per_pixel

__all__ = ["AsyncClient", "Client"]

Reply = TypeVar("Reply")


class Client:
    """A connection to a smalti server; safe to share between threads.

    `address` is HOST:PORT; raises InvalidRequest for anything else. `timeout_seconds` bounds each answer that is
    not a stream; inf is no bound. A server from which nothing came for `keepalive_seconds` (at least 0.1) while a call
    runs is asked for a sign of life, and taken for away when none comes for twice as long again; most servers hang up
    on who asks more often than every 5 s. No message of an answer may be larger than `max_answer_bytes`.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_seconds: float = 60.0,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        target = parse_address(address)
        self.address = target.text
        self._timeout_seconds = timeout_of(timeout_seconds)
        self._is_closed = False
        self._channel = grpc.insecure_channel(
            target.text,
            options(target, keepalive_seconds=keepalive_seconds, max_answer_bytes=max_answer_bytes),
        )
        self._stubs = {stub: stub(self._channel) for stub in messages.SERVICES}
        self._palettes = PaletteStore()

    def close(self) -> None:
        """Hang up; streams that are still open end, and further calls raise SmaltiError."""
        self._is_closed = True
        self._channel.close()

    def __repr__(self) -> str:
        closed = ", closed" if self._is_closed else ""
        return f"<{type(self).__name__} of {self.address}{closed}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # One-shot requests
    def draw(
        self, model: str, *, count: int = 1, seed: int | None = None, first_index: int = 0, version: int = 0
    ) -> Drawn:
        """Images from random latents (VAE, auto-encoder, GAN).

        Image i depends on the model and (seed, first_index + i) alone.
        """
        return self._pictures(
            messages.draw(model, count=count, seed=seed, first_index=first_index, version=version)
        )

    def draw_stream(
        self,
        model: str,
        *,
        seed: int | None = None,
        index: int = 0,
        temperature: float = 1.0,
        completion: Completion | None = None,
        version: int = 0,
    ) -> Iterator[DrawEvent]:
        """One PixelRNN image, row by row: DrawStarted, any number of DrawnRows, DrawFinished.

        Closing the iterator stops the drawing.
        """
        call = messages.draw_stream(
            model,
            seed=seed,
            index=index,
            temperature=temperature,
            completion=completion,
            version=version,
        )
        palette: Palette = ()
        for reply in self._stream(call):
            if reply.HasField("started"):
                palette = self._palette(messages.version_of(reply.started.model))
            yield call.read(reply, palette)

    def encode(self, model: str, images: ImageSources, *, version: int = 0) -> Encoded:
        """The latents of images (VAE, auto-encoder)."""
        return self._ask(messages.encode(model, images, version=version))

    def decode(self, model: str, latents: Sequence[Latent], *, version: int = 0) -> Images:
        """The images of latents (VAE, auto-encoder, GAN)."""
        return self._pictures(messages.decode(model, latents, version=version))

    def reconstruct(self, model: str, images: ImageSources, *, version: int = 0) -> Images:
        """Images through the latent and back."""
        return self._pictures(messages.reconstruct(model, images, version=version))

    def interpolate(
        self, model: str, first: ImageSource, last: ImageSource, *, steps: int = 8, version: int = 0
    ) -> Images:
        """`steps` images, evenly from the latent of the first image to that of the last."""
        return self._pictures(messages.interpolate(model, first, last, steps=steps, version=version))

    def sweep(
        self,
        model: str,
        dimensions: tuple[int, int],
        *,
        image: ImageSource | None = None,
        steps: int = 8,
        low: float | None = None,
        high: float | None = None,
        version: int = 0,
    ) -> Swept:
        """steps × steps images: two latent dimensions (row, column) go from low to high (−3 to 3).

        The others are fixed at the image's latent, or at 0 without an image.
        """
        return self._pictures(
            messages.sweep(model, dimensions, image=image, steps=steps, low=low, high=high, version=version)
        )

    def score(self, model: str, images: ImageSources, *, seed: int | None = None, version: int = 0) -> Scores:
        """How likely, or how real, a model finds images; `Scores.kind` says which."""
        return self._ask(messages.score(model, images, seed=seed, version=version))

    # Jobs
    def submit(
        self,
        model: str,
        *,
        count: int = 1,
        seed: int | None = None,
        first_index: int = 0,
        temperature: float = 1.0,
        completion: Completion | None = None,
        retention_seconds: float | None = None,
        request_id: str | None = None,
        job_class: JobClass | str = JobClass.STANDARD,
        patience_seconds: float = 10.0,
        version: int = 0,
    ) -> Job:
        """Queue a job of `count` samples; sample i is image first_index + i of the seed.

        While the server is away or its queue full, tries again for `patience_seconds`: a request_id, made
        here where none is given, keeps that from queueing it twice.
        """
        call = messages.submit(
            model,
            count=count,
            seed=seed,
            first_index=first_index,
            temperature=temperature,
            completion=completion,
            retention_seconds=retention_seconds,
            request_id=request_id,
            job_class=job_class,
            version=version,
        )
        patience = Patience(patience_seconds)
        while True:
            try:
                return self._ask(call)
            except (Busy, Unavailable) as error:
                time.sleep(patience.delay_after(error))

    def get_job(self, job: JobOrId) -> Job:
        """The job as it is now."""
        return self._ask(messages.get_job(messages.id_of(job)))

    def jobs(self, *, page_size: int = 50) -> Iterator[Job]:
        """Every job that the server still knows, newest first; asks for page after page."""
        page_token, more = "", True
        while more:
            page, page_token = self._ask(messages.jobs_page(page_token, page_size))
            yield from page
            more = bool(page_token)

    def watch(
        self, job: JobOrId, *, rows: bool = False, patience_seconds: float = 60.0
    ) -> Iterator[JobEvent]:
        """What happens to a job, from how it stands now to how it ended; nothing between is told twice.

        With `rows` also the rows of samples in progress. While the server is away, yields Interrupted and
        tries again, until it has been away for `patience_seconds`.
        """
        progress, patience = JobProgress(), Patience(patience_seconds)
        while True:
            try:
                yield from self._watch_once(job, progress, patience, rows=rows)
                return
            except Unavailable as error:
                delay = patience.delay_after(error)
                yield progress.interruption(error, delay)
                time.sleep(delay)

    def wait(self, job: JobOrId, *, patience_seconds: float = 60.0) -> Job:
        """The job as it ended, whether it succeeded or not: `state` tells. Waits for that as `watch` does."""
        known = self.get_job(job)
        for event in self.watch(job, patience_seconds=patience_seconds):
            known = event if isinstance(event, Job) else known
        return known

    def results(self, job: JobOrId, *, start: int = 0, limit: int = 0) -> Iterator[SampleResult]:
        """The samples that have ended by now, by index from `start`; limit 0 means all."""
        palette = self._palette(self.get_job(job).model)
        call = messages.results(messages.id_of(job), start=start, limit=limit)
        for reply in self._stream(call):
            yield call.read(reply, palette)

    def cancel(self, job: JobOrId) -> Job:
        """Stop a job; its finished samples stay."""
        return self._ask(messages.cancel(messages.id_of(job)))

    def delete(self, job: JobOrId) -> None:
        """Forget a job that has ended, and its results."""
        self._ask(messages.delete(messages.id_of(job)))

    # Models
    def models(self) -> list[Model]:
        """Every model version that the server serves."""
        return self._ask(messages.models())

    def left_out(self) -> list[LeftOut]:
        """Versions in the model repository that the server cannot serve, and why."""
        return self._ask(messages.left_out())

    def model(self, name: str, *, version: int = 0) -> ModelDetails:
        """A model and its manifest."""
        return self._ask(messages.model(name, version=version))

    def load(self, name: str, *, version: int = 0) -> Model:
        """Serve a version as it is in the model repository now, the latest without a number.

        The server looks there by itself every few seconds: this is for what was unloaded, or for at once.
        """
        return self._ask(messages.load(name, version=version))

    def unload(self, name: str, *, version: int = 0) -> None:
        """Stop serving a version, 0 every one, until it is loaded or its files change."""
        self._ask(messages.unload(name, version=version))

    def _watch_once(
        self, job: JobOrId, progress: JobProgress, patience: Patience, *, rows: bool
    ) -> Iterator[JobEvent]:
        """The news from one connection; raises Unavailable when that ends before the job has."""
        call = messages.watch(messages.id_of(job), rows=rows)
        for reply in self._stream(call):
            patience.renew()
            event = call.read(reply)
            if rows and isinstance(event, Job):
                progress.pixel_bytes = bytes_per_pixel(len(self._palette(event.model)))
            news = progress.news(event)
            if news is not None:
                yield news
        if not progress.is_over:
            raise Unavailable(f"The server at {self.address} stopped.", retry_seconds=0.5)

    def _ask(self, call: Call[Reply]) -> Reply:
        return call.read(self._respond(call))

    def _pictures(self, call: PictureCall[Reply]) -> Reply:
        reply = self._respond(call)
        return call.read(reply, self._palette(messages.version_of(reply.model)))

    def _palette(self, model: ModelVersion) -> Palette:
        return self._palettes.get(model) or self._palettes.keep(
            model, messages.palette_of(self.model(model.name, version=model.version), model)
        )

    def _respond(self, call: Call[Any] | PictureCall[Any]) -> Any:
        try:
            return self._method(call)(call.request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            raise self._failed(error) from error

    def _stream(self, call: Call[Any] | PictureCall[Any]) -> Iterator[Any]:
        responses = self._method(call)(call.request)
        try:
            yield from responses
        except grpc.RpcError as error:
            raise self._failed(error) from error
        finally:
            responses.cancel()

    def _method(self, call: Call[Any] | PictureCall[Any]) -> Callable[..., Any]:
        if self._is_closed:
            raise hung_up(self.address)
        method: Callable[..., Any] = getattr(self._stubs[call.service], call.method)
        return method

    def _failed(self, error: grpc.RpcError) -> SmaltiError:
        return hung_up(self.address) if self._is_closed else from_rpc(error, self.address)
