"""Answers JobService: drawing jobs, which are kept in the queue."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from server.caller import caller
from server.context import Context, deadline_of
from server.messages import checks
from server.messages.checks import RequestLimits
from server.messages.descriptions import describe_job
from server.messages.notes import wanted_of
from server.oneshot.catalogue import Catalogue, ServedModel
from server.oneshot.pictures import Pictures
from server.queued.places import Places
from server.queued.requests import job_of, origin, prepare_job
from server.queued.uploading import Uploads, unsilent
from server.queued.view import JobEvent, SampleEnd
from server.queued.watching import Watching
from server.readiness import Readiness
from server.webhooks.secret import Secret
from smalti.errors import ModelNotFound
from smalti.jobs.clients import ClientJobs, ClientQueue
from smalti.jobs.job import Job, SampleResult, SampleRows
from smalti.jobs.reading import NO_WORKER
from smalti.jobs.watchers import WatcherQueue
from smalti.runtime import tracing
from smalti.runtime.metrics import JOBS_SUBMITTED
from smalti.v1 import jobs_pb2 as pb
from smalti.v1 import jobs_pb2_grpc, types_pb2
from smalti.webhooks import write_key

MODEL_REPLACED = "MODEL_REPLACED"


class JobService(jobs_pb2_grpc.JobServiceServicer):
    """Requests about jobs; every RPC raises Unavailable while Redis is away."""

    def __init__(
        self,
        queue: ClientQueue,
        watched: ClientQueue,
        watchers: WatcherQueue,
        catalogue: Catalogue,
        pictures: Pictures,
        uploads: Uploads,
        watching: Watching,
        places: Places,
        readiness: Readiness,
        limits: RequestLimits,
        secret: Secret,
    ) -> None:
        self._queue = queue
        self._watched = watched  # the same jobs over the watchers' connections
        self._watchers = watchers
        self._catalogue = catalogue
        self._pictures = pictures
        self._uploads = uploads
        self._watching = watching
        self._places = places
        self._readiness = readiness
        self._limits = limits
        self._secret = secret

    async def Submit(self, request: pb.SubmitRequest, context: Context) -> pb.SubmitResponse:
        model = self._catalogue.get(request.model.name, request.model.version)
        model.manifest.require_images()
        prepared = await prepare_job(
            model, request, self._limits, self._pictures, deadline=deadline_of(context)
        )
        self._readiness.require_queue()
        job = await self._jobs.submit(prepared.request, request_id=request.request_id, origin=origin())
        JOBS_SUBMITTED.labels(model.manifest.name).inc()
        return pb.SubmitResponse(job=self._describe(job), colour_change=prepared.colour_change)

    async def SubmitCompletions(
        self, requests: AsyncIterator[pb.SubmitCompletionsRequest], context: Context
    ) -> pb.SubmitResponse:
        messages = unsilent(requests)
        job = job_of(await anext(messages, pb.SubmitCompletionsRequest()))
        model = self._catalogue.get(job.model.name, job.model.version)
        model.manifest.require_images()
        request = (await prepare_job(model, job, self._limits, self._pictures)).request
        self._readiness.require_queue()
        with self._uploads.room(request, caller().name):
            await self._jobs.require_room(request, kept_bytes=0, request_id=job.request_id)
            uploaded = await self._uploads.receive(model, request, messages, deadline=deadline_of(context))
            queued = await self._jobs.submit(
                request, request_id=job.request_id, origin=origin(), kept=uploaded.kept
            )
        JOBS_SUBMITTED.labels(model.manifest.name).inc()
        return pb.SubmitResponse(job=self._describe(queued), colour_change=uploaded.colour_change)

    async def Get(self, request: pb.GetJobRequest, context: Context) -> pb.Job:
        self._readiness.require_queue()
        return self._describe(await self._jobs.get(request.id))

    async def List(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        size, only = checks.page_size_of(request.page_size), wanted_of(request)
        self._readiness.require_queue()
        client = request.client if request.HasField("client") else None
        jobs, token = await self._jobs.list(
            limit=size, page_token=request.page_token, client=client, only=only
        )
        return pb.ListJobsResponse(jobs=[self._describe(job) for job in jobs], next_page_token=token)

    async def Watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[pb.WatchResponse]:
        self._readiness.require_queue()
        with self._places.take(caller().name):
            job = await self._watching.find(self._watched.of(caller()), request.id)
            tracing.current().link(job.origin.traceparent)
            async with aclosing(self._watching.watch(job, rows=request.rows)) as events:
                async for event in events:
                    yield self._event(event)

    async def Results(self, request: pb.ResultsRequest, context: Context) -> AsyncIterator[pb.SampleResult]:
        form = checks.image_format_of(request.format)
        self._readiness.require_queue()
        job = await self._jobs.get(request.id)
        tracing.current().link(job.origin.traceparent)
        model = self._painter(job, form)
        results = self._watchers.results(job, start=request.start, limit=request.limit)
        async with aclosing(results):
            async for result in results:
                yield await self._result(result, job, model, form)

    async def Cancel(self, request: pb.CancelJobRequest, context: Context) -> pb.Job:
        self._readiness.require_queue()
        return self._describe(await self._jobs.cancel(request.id))

    async def Pause(self, request: pb.PauseJobRequest, context: Context) -> pb.Job:
        self._readiness.require_queue()
        return self._describe(await self._jobs.pause(request.id))

    async def Resume(self, request: pb.ResumeJobRequest, context: Context) -> pb.Job:
        self._readiness.require_queue()
        return self._describe(await self._jobs.resume(request.id))

    async def GetWebhookKey(self, request: pb.GetWebhookKeyRequest, context: Context) -> pb.WebhookKey:
        return pb.WebhookKey(key=write_key(self._secret.key_of(caller().name)))

    async def Delete(self, request: pb.DeleteJobRequest, context: Context) -> pb.DeleteJobResponse:
        self._readiness.require_queue()
        await self._jobs.delete(request.id)
        return pb.DeleteJobResponse()

    @property
    def _jobs(self) -> ClientJobs:
        """The queue as the client sees it whose RPC this task answers."""
        return self._queue.of(caller())

    def _describe(self, job: Job) -> pb.Job:
        """A job as clients see it. If it waits for a model that another one has replaced, its reason says so."""
        request = job.request
        replaced = self._catalogue.is_replaced(request.model, request.version, request.digest)
        if job.reason == NO_WORKER and replaced:
            return describe_job(replace(job, reason=MODEL_REPLACED))
        return describe_job(job)

    def _event(self, event: JobEvent) -> pb.WatchResponse:
        match event:
            case Job():
                return pb.WatchResponse(job=self._describe(event))
            case SampleRows():
                return pb.WatchResponse(
                    rows=pb.SampleRows(index=event.index, first_row=event.first_row, indices=event.pixels)
                )
            case SampleEnd():
                return pb.WatchResponse(ended=pb.SampleEnded(index=event.index, succeeded=event.succeeded))

    def _painter(self, job: Job, form: int) -> ServedModel | None:
        """The model that has the palette for the results, None if the client asks for pixels. Raises ModelNotFound."""
        if form == types_pb2.IMAGE_FORMAT_PIXELS:
            return None
        model = self._catalogue.get(job.request.model, job.request.version)
        if model.digest != job.request.digest:
            raise ModelNotFound(
                f"{job.request.model} version {job.request.version} was exported again and may have other colours now: "
                "put the old export back, or ask for pixels."
            )
        return model

    async def _result(
        self, result: SampleResult, job: Job, model: ServedModel | None, form: int
    ) -> pb.SampleResult:
        return pb.SampleResult(
            index=result.index,
            image=None if result.error else await self._image(result.pixels, job, model, form),
            log_probability=result.log_probability,
            error=result.error,
            fingerprint=result.fingerprint,
        )

    async def _image(self, pixels: bytes, job: Job, model: ServedModel | None, form: int) -> types_pb2.Image:
        if model is not None:
            return await self._pictures.paint(model, pixels, form)
        request = job.request
        return types_pb2.Image(
            pixels=types_pb2.Pixels(height=request.rows, width=request.columns, indices=pixels)
        )
