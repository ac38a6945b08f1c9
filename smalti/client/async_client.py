"""The client for asyncio: the methods of `smalti.client.Client`, awaited."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from smalti.address import parse_address
from smalti.client import messages
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
from smalti.errors import Busy, Unavailable
from smalti.jobs.job import JobClass
from smalti.pixels import bytes_per_pixel

Reply = TypeVar("Reply")


class AsyncClient:
    """A connection to a smalti server, for one event loop; `smalti.client.Client` describes each method.

    The parameters are those of `Client`, too.
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
        self._channel = grpc.aio.insecure_channel(
            target.text,
            options(target, keepalive_seconds=keepalive_seconds, max_answer_bytes=max_answer_bytes),
        )
        self._stubs = {stub: stub(self._channel) for stub in messages.SERVICES}
        self._palettes = PaletteStore()

    async def close(self) -> None:
        """Hang up; streams that are still open end, and further calls raise SmaltiError."""
        self._is_closed = True
        await self._channel.close(None)

    def __repr__(self) -> str:
        closed = ", closed" if self._is_closed else ""
        return f"<{type(self).__name__} of {self.address}{closed}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # One-shot requests
    async def draw(
        self, model: str, *, count: int = 1, seed: int | None = None, first_index: int = 0, version: int = 0
    ) -> Drawn:
        """Images from random latents (VAE, auto-encoder, GAN)."""
        return await self._pictures(
            messages.draw(model, count=count, seed=seed, first_index=first_index, version=version)
        )

    async def draw_stream(
        self,
        model: str,
        *,
        seed: int | None = None,
        index: int = 0,
        temperature: float = 1.0,
        completion: Completion | None = None,
        version: int = 0,
    ) -> AsyncGenerator[DrawEvent, None]:
        """One PixelRNN image, row by row; closing the iterator stops the drawing."""
        call = messages.draw_stream(
            model,
            seed=seed,
            index=index,
            temperature=temperature,
            completion=completion,
            version=version,
        )
        palette: Palette = ()
        async with aclosing(self._stream(call)) as replies:
            async for reply in replies:
                if reply.HasField("started"):
                    palette = await self._palette(messages.version_of(reply.started.model))
                yield call.read(reply, palette)

    async def encode(self, model: str, images: ImageSources, *, version: int = 0) -> Encoded:
        """The latents of images (VAE, auto-encoder)."""
        return await self._ask(messages.encode(model, images, version=version))

    async def decode(self, model: str, latents: Sequence[Latent], *, version: int = 0) -> Images:
        """The images of latents (VAE, auto-encoder, GAN)."""
        return await self._pictures(messages.decode(model, latents, version=version))

    async def reconstruct(self, model: str, images: ImageSources, *, version: int = 0) -> Images:
        """Images through the latent and back."""
        return await self._pictures(messages.reconstruct(model, images, version=version))

    async def interpolate(
        self, model: str, first: ImageSource, last: ImageSource, *, steps: int = 8, version: int = 0
    ) -> Images:
        """`steps` images, evenly from the latent of the first image to that of the last."""
        return await self._pictures(messages.interpolate(model, first, last, steps=steps, version=version))

    async def sweep(
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
        """steps × steps images: two latent dimensions over a grid, the others fixed."""
        return await self._pictures(
            messages.sweep(model, dimensions, image=image, steps=steps, low=low, high=high, version=version)
        )

    async def score(
        self, model: str, images: ImageSources, *, seed: int | None = None, version: int = 0
    ) -> Scores:
        """How likely, or how real, a model finds images."""
        return await self._ask(messages.score(model, images, seed=seed, version=version))

    # Jobs
    async def submit(
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
        """Queue a job; tries again for `patience_seconds` while the server is away or its queue full."""
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
                return await self._ask(call)
            except (Busy, Unavailable) as error:
                await asyncio.sleep(patience.delay_after(error))

    async def get_job(self, job: JobOrId) -> Job:
        """The job as it is now."""
        return await self._ask(messages.get_job(messages.id_of(job)))

    async def jobs(self, *, page_size: int = 50) -> AsyncGenerator[Job, None]:
        """Every job that the server still knows, newest first."""
        page_token, more = "", True
        while more:
            page, page_token = await self._ask(messages.jobs_page(page_token, page_size))
            for job in page:
                yield job
            more = bool(page_token)

    async def watch(
        self, job: JobOrId, *, rows: bool = False, patience_seconds: float = 60.0
    ) -> AsyncGenerator[JobEvent, None]:
        """What happens to a job, from how it stands now to how it ended."""
        progress, patience = JobProgress(), Patience(patience_seconds)
        while True:
            try:
                async with aclosing(self._watch_once(job, progress, patience, rows=rows)) as events:
                    async for event in events:
                        yield event
                return
            except Unavailable as error:
                delay = patience.delay_after(error)
                yield progress.interruption(error, delay)
                await asyncio.sleep(delay)

    async def wait(self, job: JobOrId, *, patience_seconds: float = 60.0) -> Job:
        """The job as it ended, whether it succeeded or not."""
        known = await self.get_job(job)
        async with aclosing(self.watch(job, patience_seconds=patience_seconds)) as events:
            async for event in events:
                known = event if isinstance(event, Job) else known
        return known

    async def results(
        self, job: JobOrId, *, start: int = 0, limit: int = 0
    ) -> AsyncGenerator[SampleResult, None]:
        """The samples that have ended by now, by index from `start`; limit 0 means all."""
        palette = await self._palette((await self.get_job(job)).model)
        call = messages.results(messages.id_of(job), start=start, limit=limit)
        async with aclosing(self._stream(call)) as replies:
            async for reply in replies:
                yield call.read(reply, palette)

    async def cancel(self, job: JobOrId) -> Job:
        """Stop a job; its finished samples stay."""
        return await self._ask(messages.cancel(messages.id_of(job)))

    async def delete(self, job: JobOrId) -> None:
        """Forget a job that has ended, and its results."""
        await self._ask(messages.delete(messages.id_of(job)))

    # Models
    async def models(self) -> list[Model]:
        """Every model version that the server serves."""
        return await self._ask(messages.models())

    async def left_out(self) -> list[LeftOut]:
        """Versions in the model repository that the server cannot serve, and why."""
        return await self._ask(messages.left_out())

    async def model(self, name: str, *, version: int = 0) -> ModelDetails:
        """A model and its manifest."""
        return await self._ask(messages.model(name, version=version))

    async def load(self, name: str, *, version: int = 0) -> Model:
        """Serve a version as it is in the model repository now, the latest without a number.

        The server looks there by itself every few seconds: this is for what was unloaded, or for at once.
        """
        return await self._ask(messages.load(name, version=version))

    async def unload(self, name: str, *, version: int = 0) -> None:
        """Stop serving a version, 0 every one, until it is loaded or its files change."""
        await self._ask(messages.unload(name, version=version))

    async def _watch_once(
        self, job: JobOrId, progress: JobProgress, patience: Patience, *, rows: bool
    ) -> AsyncGenerator[JobEvent, None]:
        call = messages.watch(messages.id_of(job), rows=rows)
        async with aclosing(self._stream(call)) as replies:
            async for reply in replies:
                patience.renew()
                event = call.read(reply)
                if rows and isinstance(event, Job):
                    progress.pixel_bytes = bytes_per_pixel(len(await self._palette(event.model)))
                news = progress.news(event)
                if news is not None:
                    yield news
        if not progress.is_over:
            raise Unavailable(f"The server at {self.address} stopped.", retry_seconds=0.5)

    async def _ask(self, call: Call[Reply]) -> Reply:
        return call.read(await self._respond(call))

    async def _pictures(self, call: PictureCall[Reply]) -> Reply:
        reply = await self._respond(call)
        return call.read(reply, await self._palette(messages.version_of(reply.model)))

    async def _palette(self, model: ModelVersion) -> Palette:
        return self._palettes.get(model) or self._palettes.keep(
            model, messages.palette_of(await self.model(model.name, version=model.version), model)
        )

    async def _respond(self, call: Call[Any] | PictureCall[Any]) -> Any:
        with self._telling():
            return await self._method(call)(call.request, timeout=self._timeout_seconds)

    async def _stream(self, call: Call[Any] | PictureCall[Any]) -> AsyncGenerator[Any, None]:
        responses = self._method(call)(call.request)
        try:
            with self._telling():
                async for response in responses:
                    yield response
        finally:
            responses.cancel()

    def _method(self, call: Call[Any] | PictureCall[Any]) -> Callable[..., Any]:
        if self._is_closed:
            raise hung_up(self.address)
        method: Callable[..., Any] = getattr(self._stubs[call.service], call.method)
        return method

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Why a call failed, as an error of smalti; where this client hung up, grpc calls it a cancellation."""
        try:
            yield
        except grpc.RpcError as error:
            raise hung_up(self.address) if self._is_closed else from_rpc(error, self.address) from error
        except asyncio.CancelledError as error:
            if self._is_closed and not _is_cancelled():
                raise hung_up(self.address) from error
            raise


def _is_cancelled() -> bool:
    """Whether it is this task that somebody cancels."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
