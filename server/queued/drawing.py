"""Draws one image through the queue while a client watches: submits a job, follows it, deletes it."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from time import monotonic
from typing import Any

import structlog

from server.caller import caller
from server.messages import checks
from server.messages.descriptions import model_of
from server.oneshot.catalogue import ServedModel
from server.oneshot.pictures import Pictures
from server.queued.requests import Prepared, origin, prepare_stream
from server.queued.watching import Watching
from server.readiness import Readiness
from smalti.errors import JobNotFinished, JobNotFound, SampleFailed, SmaltiError, Unavailable
from smalti.jobs.clients import ClientJobs, ClientQueue
from smalti.jobs.job import TERMINAL, Job, JobState, SampleRows
from smalti.jobs.reading import NO_WORKER
from smalti.jobs.watchers import WatcherQueue
from smalti.v1 import images_pb2 as pb

log = structlog.get_logger()
_WORKER_SECONDS = 5.0  # how long to wait for a worker that has the model
_DELETE_SECONDS = 30.0  # how long to wait for a cancelled sample to end; after that its retention deletes it
_DELETE_AGAIN_SECONDS = 0.2


class StreamedDrawing:
    """Does the work of DrawStream."""

    def __init__(
        self,
        queue: ClientQueue,
        watchers: WatcherQueue,
        watching: Watching,
        readiness: Readiness,
        pictures: Pictures,
    ) -> None:
        self._queue = queue
        self._watchers = watchers
        self._watching = watching
        self._readiness = readiness
        self._pictures = pictures
        self._background: set[asyncio.Task[None]] = set()

    async def draw(
        self, model: ServedModel, request: pb.DrawStreamRequest, *, deadline: float | None = None
    ) -> AsyncGenerator[pb.DrawStreamResponse, None]:
        """The events of the drawing: started, rows, finished. Closing this early cancels the job.

        The job is deleted in any case. Raises SampleFailed, Unavailable if no worker draws this model, and whatever
        submitting raises.
        """
        form = checks.image_format_of(request.format)
        prepared = await prepare_stream(model, request, self._pictures, deadline=deadline)
        self._readiness.require_queue()
        jobs = self._queue.of(caller())
        job = await self._submit(jobs, prepared)
        try:
            yield _started(job, prepared)
            async with aclosing(self._rows(job)) as rows:
                async for event in rows:
                    yield event
            yield await self._finished(model, job, form)
        finally:
            self._in_background(_cancel_and_delete(jobs, job.id))

    async def close(self) -> None:
        """Wait a moment for the deletion of jobs whose clients have gone away."""
        if self._background:
            await asyncio.wait(self._background, timeout=2.0)

    async def _submit(self, jobs: ClientJobs, prepared: Prepared) -> Job:
        """Submit the job. If the client goes away meanwhile, the job is deleted as soon as it exists."""
        submitting = asyncio.create_task(jobs.submit(prepared.request, origin=origin()))
        try:
            return await asyncio.shield(submitting)
        except asyncio.CancelledError:
            self._in_background(_delete_submitted(jobs, submitting))
            raise

    async def _rows(self, job: Job) -> AsyncGenerator[pb.DrawStreamResponse, None]:
        """The rows as they are drawn. The limit runs only while no worker has the model, when nothing else happens."""
        limit = asyncio.get_running_loop().time() + _WORKER_SECONDS
        try:
            async with (
                asyncio.timeout(None) as patience,
                aclosing(self._watching.watch(job, rows=True)) as events,
            ):
                async for event in events:
                    if isinstance(event, Job):
                        await self._require_success(event)
                        patience.reschedule(limit if _lacks_worker(event) else None)
                    elif isinstance(event, SampleRows):
                        patience.reschedule(None)  # or it would end whoever takes the rows
                        yield _rows(event, job)
        except TimeoutError:
            raise Unavailable(f"No worker draws {job.request.model} now.", retry_seconds=5.0) from None

    async def _require_success(self, job: Job) -> None:
        if job.state in TERMINAL and job.state is not JobState.SUCCEEDED:
            raise SampleFailed(f"The image could not be drawn: {await self._why(job)}")

    async def _why(self, job: Job) -> str:
        """Why there is no image: the error of the job's only sample, or else the job's reason or state."""
        async for result in self._watchers.results(job):
            if result.error:
                return result.error
        return f"{job.reason or job.state}."

    async def _finished(self, model: ServedModel, job: Job, form: int) -> pb.DrawStreamResponse:
        async for result in self._watchers.results(job):
            image = await self._pictures.paint(model, result.pixels, form)
            finished = pb.DrawFinished(image=image, log_probability=result.log_probability)
            return pb.DrawStreamResponse(finished=finished)
        raise SampleFailed("The image was drawn, but its result is gone.")

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _delete_submitted(jobs: ClientJobs, submitting: "asyncio.Task[Job]") -> None:
    try:
        job = await submitting
    except SmaltiError:
        return  # nothing was submitted
    await _cancel_and_delete(jobs, job.id)


async def _cancel_and_delete(jobs: ClientJobs, job_id: str) -> None:
    """Cancel the job if it has not ended, and delete it once it has."""
    try:
        await jobs.cancel(job_id)
        await _delete_when_ended(jobs, job_id)
    except JobNotFound:
        pass
    except SmaltiError as error:
        log.warning(
            "a streamed drawing stays until its retention ends",
            job=job_id,
            error=str(error),
        )


async def _delete_when_ended(jobs: ClientJobs, job_id: str) -> None:
    deadline = monotonic() + _DELETE_SECONDS
    while True:
        try:
            return await jobs.delete(job_id)
        except JobNotFinished:
            if monotonic() > deadline:
                raise
        await asyncio.sleep(_DELETE_AGAIN_SECONDS)


def _lacks_worker(job: Job) -> bool:
    return job.state is JobState.QUEUED and job.reason == NO_WORKER


def _started(job: Job, prepared: Prepared) -> pb.DrawStreamResponse:
    request = job.request
    return pb.DrawStreamResponse(
        started=pb.DrawStarted(
            model=model_of(request),
            seed=request.seed,
            job_id=job.id,
            height=request.rows,
            width=request.columns,
            colour_change=prepared.colour_change,
        )
    )


def _rows(event: SampleRows, job: Job) -> pb.DrawStreamResponse:
    assert len(event.pixels) % job.request.row_bytes == 0
    return pb.DrawStreamResponse(rows=pb.DrawnRows(first_row=event.first_row, indices=event.pixels))
