"""The client for asyncio: the methods of `smalti.client.Client`, awaited."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from smalti.client import calls
from smalti.client.calls.call import Call, ImageCall, Palette, UploadCall
from smalti.client.channel import (
    DEFAULT_ADDRESS,
    KEEPALIVE_SECONDS,
    MAX_ANSWER_BYTES,
    TIMEOUT_SECONDS,
    Connection,
    Metadata,
    closed,
)
from smalti.client.credentials import File, Security
from smalti.client.failures import Patience, from_rpc
from smalti.client.palettes import PaletteStore, palette_of
from smalti.client.progress import JobProgress, ResultsProgress
from smalti.client.values import (
    NO_LABELS,
    Completion,
    DeadSample,
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
    QueueStatistics,
    SampleResult,
    Scores,
    Swept,
)
from smalti.errors import Busy, Unavailable
from smalti.jobs.job import JobClass, JobState
from smalti.pixels import bytes_per_pixel

Reply = TypeVar("Reply")


class AsyncClient:
    """A connection to a smalti server, for one event loop; `smalti.client.Client` describes each method.

    It takes the parameters of `Client`.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        token_file: File | None = None,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        plaintext_token: bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Metadata = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._connection = Connection.to(
            address,
            security=Security(
                token=token,
                token_file=token_file,
                ca=ca,
                cert=cert,
                key=key,
                plaintext_token=plaintext_token,
            ),
            credentials=credentials,
            metadata=metadata,
            timeout_seconds=timeout_seconds,
            keepalive_seconds=keepalive_seconds,
            max_answer_bytes=max_answer_bytes,
        )
        self.address = self._connection.target.text
        self._is_closed = False
        self._channel = self._connection.async_channel()
        self._stubs = {service: service(self._channel) for service in calls.SERVICES}
        self._palettes = PaletteStore()

    async def close(self) -> None:
        """Close the connection; open streams end, and further calls raise SmaltiError."""
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
        return await self._images(
            calls.images.draw(model, count=count, seed=seed, first_index=first_index, version=version)
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
        call = calls.images.draw_stream(
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
                    palette = await self._palette(calls.images.version_of(reply.started.model))
                yield call.read(reply, palette)

    async def encode(self, model: str, images: ImageSources, *, version: int = 0) -> Encoded:
        """The latents of images (VAE, auto-encoder)."""
        return await self._ask(calls.images.encode(model, images, version=version))

    async def decode(self, model: str, latents: Sequence[Latent], *, version: int = 0) -> Images:
        """The images of latents (VAE, auto-encoder, GAN)."""
        return await self._images(calls.images.decode(model, latents, version=version))

    async def reconstruct(self, model: str, images: ImageSources, *, version: int = 0) -> Images:
        """Images encoded and decoded again."""
        return await self._images(calls.images.reconstruct(model, images, version=version))

    async def interpolate(
        self, model: str, first: ImageSource, last: ImageSource, *, steps: int = 8, version: int = 0
    ) -> Images:
        """`steps` images at even steps from the latent of the first image to that of the last."""
        return await self._images(calls.images.interpolate(model, first, last, steps=steps, version=version))

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
        return await self._images(
            calls.images.sweep(
                model, dimensions, image=image, steps=steps, low=low, high=high, version=version
            )
        )

    async def score(
        self, model: str, images: ImageSources, *, seed: int | None = None, version: int = 0
    ) -> Scores:
        """How likely a model finds images, or how real."""
        return await self._ask(calls.images.score(model, images, seed=seed, version=version))

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
        deadline_seconds: float | None = None,
        webhook: str = "",
        name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        request_id: str | None = None,
        job_class: JobClass | str = JobClass.STANDARD,
        patience_seconds: float = 10.0,
        version: int = 0,
    ) -> Job:
        """Queue a job; tries again for `patience_seconds` while the server is away or its queue is full."""
        call = calls.jobs.submit(
            model,
            count=count,
            seed=seed,
            first_index=first_index,
            temperature=temperature,
            completion=completion,
            retention_seconds=retention_seconds,
            deadline_seconds=deadline_seconds,
            webhook=webhook,
            name=name,
            labels=labels,
            request_id=request_id,
            job_class=job_class,
            version=version,
        )
        return await self._submit(call, patience_seconds)

    async def submit_completions(
        self,
        model: str,
        completions: Iterable[Completion],
        *,
        picture_names: Iterable[str] = (),
        seed: int | None = None,
        first_index: int = 0,
        temperature: float = 1.0,
        retention_seconds: float | None = None,
        deadline_seconds: float | None = None,
        webhook: str = "",
        name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        request_id: str | None = None,
        job_class: JobClass | str = JobClass.STANDARD,
        patience_seconds: float = 10.0,
        version: int = 0,
    ) -> Job:
        """Queue one job that completes many pictures, as `Client.submit_completions` does."""
        call = calls.jobs.submit_completions(
            model,
            completions,
            picture_names,
            seed=seed,
            first_index=first_index,
            temperature=temperature,
            retention_seconds=retention_seconds,
            deadline_seconds=deadline_seconds,
            webhook=webhook,
            name=name,
            labels=labels,
            request_id=request_id,
            job_class=job_class,
            version=version,
        )
        return await self._submit(call, patience_seconds)

    async def get_job(self, job: JobOrId) -> Job:
        """The job as it is now."""
        return await self._ask(calls.jobs.get_job(job))

    async def jobs(
        self,
        *,
        client: str | None = None,
        states: Iterable[JobState | str] = (),
        model: str = "",
        name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        page_size: int = 50,
    ) -> AsyncGenerator[Job, None]:
        """Every job that the server still knows, newest first; an admin may ask for those of one `client`."""
        wanted: Any = {"client": client, "states": [*states], "model": model, "name": name, "labels": labels}
        page_token, more = "", True
        while more:
            page, page_token = await self._ask(calls.jobs.jobs_page(page_token, page_size, **wanted))
            for job in page:
                yield job
            more = bool(page_token)

    async def watch(
        self,
        job: JobOrId,
        *,
        rows: bool = False,
        patience_seconds: float = 60.0,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[JobEvent, None]:
        """The events of a job, from its present state to its end; raises DeadlinePassed as `Client.watch` does."""
        progress, patience = JobProgress(), Patience(patience_seconds, timeout_seconds=timeout_seconds)
        while True:
            try:
                with patience.limiting():
                    async with aclosing(self._watch_once(job, progress, patience, rows=rows)) as events:
                        async for event in events:
                            yield event
                return
            except (Busy, Unavailable) as error:
                delay = patience.delay_after(error)
                yield progress.interruption(error, delay)
                await asyncio.sleep(delay)

    async def wait(
        self, job: JobOrId, *, patience_seconds: float = 60.0, timeout_seconds: float | None = None
    ) -> Job:
        """Wait until the job has ended; raises DeadlinePassed if it has not after `timeout_seconds`."""
        known: Job | None = None
        watch = self.watch(job, patience_seconds=patience_seconds, timeout_seconds=timeout_seconds)
        async with aclosing(watch) as events:
            async for event in events:
                known = event if isinstance(event, Job) else known
        assert known is not None  # a watch ends with the job
        return known

    async def results(
        self, job: JobOrId, *, start: int = 0, limit: int = 0, patience_seconds: float = 60.0
    ) -> AsyncGenerator[SampleResult, None]:
        """The samples that have ended by now; goes on by itself if the connection is lost, as `Client.results` does."""
        calls.jobs.results(job, start=start, limit=limit)  # refuses wrong values before anything is asked
        palette = await self._palette((await self.get_job(job)).model)
        progress, patience = ResultsProgress(start, limit), Patience(patience_seconds)
        while not progress.is_over:
            try:
                async with aclosing(self._results_once(job, progress, patience, palette)) as results:
                    async for result in results:
                        yield result
                return
            except (Busy, Unavailable) as error:
                await asyncio.sleep(patience.delay_after(error))

    async def cancel(self, job: JobOrId) -> Job:
        """Stop a job; its finished samples stay."""
        return await self._ask(calls.jobs.cancel(job))

    async def pause(self, job: JobOrId) -> Job:
        """Let no worker draw the job until it is resumed; what is drawn already stays."""
        return await self._ask(calls.jobs.pause(job))

    async def resume(self, job: JobOrId) -> Job:
        """Let workers draw a paused job again."""
        return await self._ask(calls.jobs.resume(job))

    async def webhook_key(self) -> str:
        """The key with which the webhooks of this client are signed; `smalti.webhooks.verified` takes it."""
        return await self._ask(calls.jobs.webhook_key())

    async def delete(self, job: JobOrId) -> None:
        """Delete a job that has ended, and its results."""
        await self._ask(calls.jobs.delete(job))

    # Models
    async def models(self) -> list[Model]:
        """Every model version that the server serves."""
        return await self._ask(calls.models.models())

    async def left_out(self) -> list[LeftOut]:
        """What the server cannot serve of its model repository, and why."""
        return await self._ask(calls.models.left_out())

    async def model(self, name: str, *, version: int = 0) -> ModelDetails:
        """A model and its manifest."""
        return await self._ask(calls.models.model(name, version=version))

    async def load(self, name: str, *, version: int = 0) -> Model:
        """Serve a version (0: the latest) from the files that are in the model repository now."""
        return await self._ask(calls.models.load(name, version=version))

    async def unload(self, name: str, *, version: int = 0) -> None:
        """Stop serving a version (0: all versions), until it is loaded again or its files change."""
        await self._ask(calls.models.unload(name, version=version))

    async def weights(self) -> dict[str, float]:
        """The weights by which clients share the workers, where they are not 1; for admins."""
        return await self._ask(calls.admin.weights())

    async def set_weight(self, client: str, weight: float) -> None:
        """Give a client a weight from 0.01 to 100: in a class it gets so many times the pixels of one of weight 1."""
        await self._ask(calls.admin.set_weight(client, weight))

    async def statistics(self) -> QueueStatistics:
        """What is in the queue, and what each worker and each client has; for admins, like what follows."""
        return await self._ask(calls.admin.statistics())

    async def pause_pool(self) -> None:
        """Hand out no more samples; those that workers hold are drawn to their ends."""
        await self._ask(calls.admin.pause_pool())

    async def resume_pool(self) -> None:
        """Hand out samples again."""
        await self._ask(calls.admin.resume_pool())

    async def drain_worker(self, worker: str) -> None:
        """Ask a worker to give back its samples and end; `statistics` names the workers."""
        await self._ask(calls.admin.drain_worker(worker))

    async def dead_samples(self, job: JobOrId | None = None, *, limit: int = 50) -> list[DeadSample]:
        """Samples that failed, of one job or of all, the newest first."""
        return await self._ask(calls.admin.dead_samples(job, limit=limit))

    async def retry_sample(self, job: JobOrId, index: int) -> Job:
        """Draw a failed sample once more, in a new job of its client with the same seed."""
        return await self._ask(calls.admin.retry_sample(job, index))

    async def audit_queue(self) -> Mapping[str, int]:
        """Audit the queue now; returns how many repairs of each kind were made, nothing if it is well."""
        return await self._ask(calls.admin.audit_queue())

    async def _submit(self, call: Call[Job] | UploadCall[Job], patience_seconds: float) -> Job:
        patience = Patience(patience_seconds)
        while True:
            try:
                return await (self._upload(call) if isinstance(call, UploadCall) else self._ask(call))
            except (Busy, Unavailable) as error:
                await asyncio.sleep(patience.delay_after(error))

    async def _upload(self, call: UploadCall[Reply]) -> Reply:
        with self._failures():
            return call.read(await self._start(call))

    async def _watch_once(
        self, job: JobOrId, progress: JobProgress, patience: Patience, *, rows: bool
    ) -> AsyncGenerator[JobEvent, None]:
        call = calls.jobs.watch(job, rows=rows)
        async with aclosing(self._stream(call, timeout_seconds=patience.seconds_left)) as replies:
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

    async def _results_once(
        self, job: JobOrId, progress: ResultsProgress, patience: Patience, palette: Palette
    ) -> AsyncGenerator[SampleResult, None]:
        call = calls.jobs.results(job, start=progress.start, limit=progress.limit)
        async with aclosing(self._stream(call)) as replies:
            async for reply in replies:
                patience.renew()
                result = call.read(reply, palette)
                progress.arrived(result.index)
                yield result

    async def _ask(self, call: Call[Reply]) -> Reply:
        return call.read(await self._respond(call))

    async def _images(self, call: ImageCall[Reply]) -> Reply:
        reply = await self._respond(call)
        return call.read(reply, await self._palette(calls.images.version_of(reply.model)))

    async def _palette(self, model: ModelVersion) -> Palette:
        return self._palettes.get(model) or self._palettes.keep(
            model, palette_of(await self.model(model.name, version=model.version), model)
        )

    async def _respond(self, call: Call[Any] | ImageCall[Any]) -> Any:
        with self._failures():
            return await self._start(call, timeout_seconds=self._connection.timeout_seconds)

    async def _stream(
        self, call: Call[Any] | ImageCall[Any], *, timeout_seconds: float | None = None
    ) -> AsyncGenerator[Any, None]:
        responses = self._start(call, timeout_seconds=timeout_seconds)
        try:
            with self._failures():
                async for response in responses:
                    yield response
        finally:
            responses.cancel()

    def _start(
        self, call: Call[Any] | ImageCall[Any] | UploadCall[Any], *, timeout_seconds: float | None = None
    ) -> Any:
        """Every RPC starts here."""
        if self._is_closed:
            raise closed(self.address)
        method = getattr(self._stubs[call.service], call.method)
        sent = iter(call.requests) if isinstance(call, UploadCall) else call.request
        return method(sent, timeout=timeout_seconds, metadata=self._connection.metadata)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise what gRPC raises as an error of smalti; after `close` gRPC raises CancelledError."""
        try:
            yield
        except grpc.RpcError as error:
            raise closed(self.address) if self._is_closed else from_rpc(error, self.address) from error
        except asyncio.CancelledError as error:
            if self._is_closed and not _task_is_cancelled():
                raise closed(self.address) from error
            raise


def _task_is_cancelled() -> bool:
    """Whether somebody cancels this task itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
