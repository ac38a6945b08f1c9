"""The Python client: `Client` for ordinary code, `AsyncClient` for asyncio.

    with Client("localhost:50051") as client:
        client.draw("sprites-vae", count=16).images[0].save("first.png")

Every method raises the errors of `smalti.errors`. An image may be given as a `smalti.client.Image`, a Pillow image, the
path or the bytes of a picture file, or an array of uint8; every image that comes back is an `Image`. Version 0 of a
model is the latest. A job may be given as a `Job` or by its id.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from smalti.errors import Busy, SmaltiError, Unavailable
from smalti.jobs.job import JobClass, JobState
from smalti.pixels import bytes_per_pixel

Reply = TypeVar("Reply")


class Client:
    """A connection to a smalti server; safe to share between threads.

    `address` is HOST:PORT. `token`, or the content of `token_file`, tells the server who you are; it goes over plain
    text only on this machine, or with `plaintext_token`. `ca` is a PEM file with the authorities that may sign the
    server's certificate; with it the connection uses TLS, otherwise it is plain text. `cert` and `key` are PEM files of
    a certificate to show to the server. Instead of these three, `credentials` are gRPC's own:
    grpc.ssl_channel_credentials() trusts the authorities that gRPC brings. `metadata`, a dict or pairs of a name and a
    text, is sent with every RPC. `timeout_seconds` limits each answer that is not a stream; inf means no limit. If
    nothing arrives for `keepalive_seconds` (at least 0.1) while a call runs, the client sends a ping. After twice as
    long without a reply it treats the server as away. Most servers disconnect clients that ping more often than every
    5 s. `max_answer_bytes` limits each message of an answer.
    Raises InvalidRequest for a value that cannot be used.
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
        self._channel = self._connection.channel()
        self._stubs = {service: service(self._channel) for service in calls.SERVICES}
        self._palettes = PaletteStore()

    def close(self) -> None:
        """Close the connection; open streams end, and further calls raise SmaltiError."""
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

        Image i depends only on the model, the seed and first_index + i.
        """
        return self._images(
            calls.images.draw(model, count=count, seed=seed, first_index=first_index, version=version)
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
        call = calls.images.draw_stream(
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
                palette = self._palette(calls.images.version_of(reply.started.model))
            yield call.read(reply, palette)

    def encode(self, model: str, images: ImageSources, *, version: int = 0) -> Encoded:
        """The latents of images (VAE, auto-encoder)."""
        return self._ask(calls.images.encode(model, images, version=version))

    def decode(self, model: str, latents: Sequence[Latent], *, version: int = 0) -> Images:
        """The images of latents (VAE, auto-encoder, GAN)."""
        return self._images(calls.images.decode(model, latents, version=version))

    def reconstruct(self, model: str, images: ImageSources, *, version: int = 0) -> Images:
        """Images encoded and decoded again."""
        return self._images(calls.images.reconstruct(model, images, version=version))

    def interpolate(
        self, model: str, first: ImageSource, last: ImageSource, *, steps: int = 8, version: int = 0
    ) -> Images:
        """`steps` images at even steps from the latent of the first image to that of the last."""
        return self._images(calls.images.interpolate(model, first, last, steps=steps, version=version))

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
        return self._images(
            calls.images.sweep(
                model, dimensions, image=image, steps=steps, low=low, high=high, version=version
            )
        )

    def score(self, model: str, images: ImageSources, *, seed: int | None = None, version: int = 0) -> Scores:
        """How likely a model finds images, or how real; `Scores.kind` says which."""
        return self._ask(calls.images.score(model, images, seed=seed, version=version))

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
        deadline_seconds: float | None = None,
        webhook: str = "",
        name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        request_id: str | None = None,
        job_class: JobClass | str = JobClass.STANDARD,
        patience_seconds: float = 10.0,
        version: int = 0,
    ) -> Job:
        """Queue a job of `count` samples; sample i is image first_index + i of the seed.

        Name and labels help to find it again. If it has not ended `deadline_seconds` after its submit, it is stopped
        and fails; its finished samples stay. When it has ended, the server tells the URL `webhook`, if it may.

        While the server is away or its queue is full, the client tries again for `patience_seconds`. All tries send
        the same request_id (a new one unless you give it), so the job is queued only once.
        """
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
        return self._submit(call, patience_seconds)

    def submit_completions(
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
        """Queue one job that completes many pictures: sample i completes picture i.

        It is image first_index + i of the seed, as from a `submit` of this picture alone. The pictures are uploaded;
        nothing is queued unless all of them can be used. An error says which one cannot, by its number and its
        name in `picture_names`, if that is given. Otherwise it is like `submit`.
        """
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
        return self._submit(call, patience_seconds)

    def get_job(self, job: JobOrId) -> Job:
        """The job as it is now."""
        return self._ask(calls.jobs.get_job(job))

    def jobs(
        self,
        *,
        client: str | None = None,
        states: Iterable[JobState | str] = (),
        model: str = "",
        name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        page_size: int = 50,
    ) -> Iterator[Job]:
        """Every job that the server still knows, newest first; asks for page after page.

        Where the server asks for tokens, a client lists its own jobs, and an admin those of all, or of one `client`.
        The server sends only jobs in one of the `states`, of this `model`, with this `name` and all of these `labels`.
        """
        wanted: Any = {"client": client, "states": [*states], "model": model, "name": name, "labels": labels}
        page_token, more = "", True
        while more:
            page, page_token = self._ask(calls.jobs.jobs_page(page_token, page_size, **wanted))
            yield from page
            more = bool(page_token)

    def watch(
        self,
        job: JobOrId,
        *,
        rows: bool = False,
        patience_seconds: float = 60.0,
        timeout_seconds: float | None = None,
    ) -> Iterator[JobEvent]:
        """The events of a job, from its present state to its end; no event comes twice.

        With `rows` also the rows of samples in progress. While the server is away or has too many watchers, yields
        Interrupted and tries again, for at most `patience_seconds`. Raises DeadlinePassed if the job has not ended
        after `timeout_seconds`.
        """
        progress, patience = JobProgress(), Patience(patience_seconds, timeout_seconds=timeout_seconds)
        while True:
            try:
                with patience.limiting():
                    yield from self._watch_once(job, progress, patience, rows=rows)
                return
            except (Busy, Unavailable) as error:
                delay = patience.delay_after(error)
                yield progress.interruption(error, delay)
                time.sleep(delay)

    def wait(
        self, job: JobOrId, *, patience_seconds: float = 60.0, timeout_seconds: float | None = None
    ) -> Job:
        """Wait, as `watch` does, until the job has ended; its `state` and `reason` say how.

        Raises DeadlinePassed if it has not ended after `timeout_seconds`.
        """
        known: Job | None = None
        for event in self.watch(job, patience_seconds=patience_seconds, timeout_seconds=timeout_seconds):
            known = event if isinstance(event, Job) else known
        assert known is not None  # a watch ends with the job
        return known

    def results(
        self, job: JobOrId, *, start: int = 0, limit: int = 0, patience_seconds: float = 60.0
    ) -> Iterator[SampleResult]:
        """The samples that have ended by now, in order of their index from `start`; limit 0 means all.

        If the connection is lost on the way, the client connects again and goes on after the last result that came. It
        tries for at most `patience_seconds`.
        """
        calls.jobs.results(job, start=start, limit=limit)  # refuses wrong values before anything is asked
        palette = self._palette(self.get_job(job).model)
        progress, patience = ResultsProgress(start, limit), Patience(patience_seconds)
        while not progress.is_over:
            try:
                yield from self._results_once(job, progress, patience, palette)
                return
            except (Busy, Unavailable) as error:
                time.sleep(patience.delay_after(error))

    def cancel(self, job: JobOrId) -> Job:
        """Stop a job; its finished samples stay."""
        return self._ask(calls.jobs.cancel(job))

    def pause(self, job: JobOrId) -> Job:
        """Let no worker draw the job until it is resumed; what is drawn already stays."""
        return self._ask(calls.jobs.pause(job))

    def resume(self, job: JobOrId) -> Job:
        """Let workers draw a paused job again."""
        return self._ask(calls.jobs.resume(job))

    def webhook_key(self) -> str:
        """The key with which the webhooks of this client are signed; `smalti.webhooks.verified` takes it."""
        return self._ask(calls.jobs.webhook_key())

    def delete(self, job: JobOrId) -> None:
        """Delete a job that has ended, and its results."""
        self._ask(calls.jobs.delete(job))

    # Models
    def models(self) -> list[Model]:
        """Every model version that the server serves."""
        return self._ask(calls.models.models())

    def left_out(self) -> list[LeftOut]:
        """What the server cannot serve of its model repository, and why."""
        return self._ask(calls.models.left_out())

    def model(self, name: str, *, version: int = 0) -> ModelDetails:
        """A model and its manifest."""
        return self._ask(calls.models.model(name, version=version))

    def load(self, name: str, *, version: int = 0) -> Model:
        """Serve a version (0: the latest) from the files that are in the model repository now.

        The server looks there by itself every few seconds. Use this after `unload`, or if you do not want to wait.
        """
        return self._ask(calls.models.load(name, version=version))

    def unload(self, name: str, *, version: int = 0) -> None:
        """Stop serving a version (0: all versions), until it is loaded again or its files change."""
        self._ask(calls.models.unload(name, version=version))

    def weights(self) -> dict[str, float]:
        """The weights by which clients share the workers, where they are not 1; for admins."""
        return self._ask(calls.admin.weights())

    def set_weight(self, client: str, weight: float) -> None:
        """Give a client a weight from 0.01 to 100: in a class it gets so many times the pixels of one of weight 1."""
        self._ask(calls.admin.set_weight(client, weight))

    def statistics(self) -> QueueStatistics:
        """What is in the queue, and what each worker and each client has; for admins, like what follows."""
        return self._ask(calls.admin.statistics())

    def pause_pool(self) -> None:
        """Hand out no more samples; those that workers hold are drawn to their ends."""
        self._ask(calls.admin.pause_pool())

    def resume_pool(self) -> None:
        """Hand out samples again."""
        self._ask(calls.admin.resume_pool())

    def drain_worker(self, worker: str) -> None:
        """Ask a worker to give back its samples and end; `statistics` names the workers."""
        self._ask(calls.admin.drain_worker(worker))

    def dead_samples(self, job: JobOrId | None = None, *, limit: int = 50) -> list[DeadSample]:
        """Samples that failed, of one job or of all, the newest first."""
        return self._ask(calls.admin.dead_samples(job, limit=limit))

    def retry_sample(self, job: JobOrId, index: int) -> Job:
        """Draw a failed sample once more, in a new job of its client with the same seed."""
        return self._ask(calls.admin.retry_sample(job, index))

    def audit_queue(self) -> Mapping[str, int]:
        """Audit the queue now; returns how many repairs of each kind were made, nothing if it is well."""
        return self._ask(calls.admin.audit_queue())

    def _submit(self, call: Call[Job] | UploadCall[Job], patience_seconds: float) -> Job:
        patience = Patience(patience_seconds)
        while True:
            try:
                return self._upload(call) if isinstance(call, UploadCall) else self._ask(call)
            except (Busy, Unavailable) as error:
                time.sleep(patience.delay_after(error))

    def _upload(self, call: UploadCall[Reply]) -> Reply:
        """Send the messages; how long that takes is not limited, since the server says when it waits in vain."""
        try:
            return call.read(self._start(call))
        except grpc.RpcError as error:
            raise self._failed(error) from error

    def _watch_once(
        self, job: JobOrId, progress: JobProgress, patience: Patience, *, rows: bool
    ) -> Iterator[JobEvent]:
        """New events from one connection; raises Unavailable if it ends before the job."""
        call = calls.jobs.watch(job, rows=rows)
        for reply in self._stream(call, timeout_seconds=patience.seconds_left):
            patience.renew()
            event = call.read(reply)
            if rows and isinstance(event, Job):
                progress.pixel_bytes = bytes_per_pixel(len(self._palette(event.model)))
            news = progress.news(event)
            if news is not None:
                yield news
        if not progress.is_over:
            raise Unavailable(f"The server at {self.address} stopped.", retry_seconds=0.5)

    def _results_once(
        self, job: JobOrId, progress: ResultsProgress, patience: Patience, palette: Palette
    ) -> Iterator[SampleResult]:
        call = calls.jobs.results(job, start=progress.start, limit=progress.limit)
        for reply in self._stream(call):
            patience.renew()
            result = call.read(reply, palette)
            progress.arrived(result.index)
            yield result

    def _ask(self, call: Call[Reply]) -> Reply:
        return call.read(self._respond(call))

    def _images(self, call: ImageCall[Reply]) -> Reply:
        reply = self._respond(call)
        return call.read(reply, self._palette(calls.images.version_of(reply.model)))

    def _palette(self, model: ModelVersion) -> Palette:
        return self._palettes.get(model) or self._palettes.keep(
            model, palette_of(self.model(model.name, version=model.version), model)
        )

    def _respond(self, call: Call[Any] | ImageCall[Any]) -> Any:
        try:
            return self._start(call, timeout_seconds=self._connection.timeout_seconds)
        except grpc.RpcError as error:
            raise self._failed(error) from error

    def _stream(
        self, call: Call[Any] | ImageCall[Any], *, timeout_seconds: float | None = None
    ) -> Iterator[Any]:
        responses = self._start(call, timeout_seconds=timeout_seconds)
        try:
            yield from responses
        except grpc.RpcError as error:
            raise self._failed(error) from error
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

    def _failed(self, error: grpc.RpcError) -> SmaltiError:
        return closed(self.address) if self._is_closed else from_rpc(error, self.address)
