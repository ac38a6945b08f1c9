"""Jobs, models and scores → the messages that clients get."""

from google.protobuf.timestamp_pb2 import Timestamp

from smalti.jobs.job import Job, JobClass, JobRequest, JobState
from smalti.runtime.manifest import Graph, Manifest, Tensor
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2

STATES = {
    JobState.QUEUED: jobs_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: jobs_pb2.JOB_STATE_RUNNING,
    JobState.PAUSED: jobs_pb2.JOB_STATE_PAUSED,
    JobState.CANCELLING: jobs_pb2.JOB_STATE_CANCELLING,
    JobState.SUCCEEDED: jobs_pb2.JOB_STATE_SUCCEEDED,
    JobState.FAILED: jobs_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: jobs_pb2.JOB_STATE_CANCELLED,
}
_CLASSES = {
    JobClass.INTERACTIVE: jobs_pb2.JOB_CLASS_INTERACTIVE,
    JobClass.STANDARD: jobs_pb2.JOB_CLASS_STANDARD,
    JobClass.BATCH: jobs_pb2.JOB_CLASS_BATCH,
}
SCORE_KINDS = {
    "log_likelihood": images_pb2.SCORE_KIND_LOG_LIKELIHOOD,
    "elbo": images_pb2.SCORE_KIND_ELBO,
    "real_probability": images_pb2.SCORE_KIND_REAL_PROBABILITY,
}


def describe_job(job: Job) -> jobs_pb2.Job:
    """A job as clients see it."""
    request = job.request
    return jobs_pb2.Job(
        id=job.id,
        model=model_of(request),
        state=STATES[job.state],
        count=request.count,
        seed=request.seed,
        first_index=request.first_index,
        temperature=request.temperature,
        height=request.rows,
        width=request.columns,
        done=job.done,
        failed=job.failed,
        running=job.running,
        created=timestamp(job.created),
        started=timestamp(job.started),
        ended=timestamp(job.ended),
        deadline=timestamp(job.deadline),
        expires=timestamp(job.expires),
        reason=job.reason,
        job_class=_CLASSES[request.job_class],
        client=job.client,
        rpc_id=job.origin.rpc_id,
        name=request.notes.name,
        labels=dict(request.notes.labels),
        webhook=request.notes.webhook,
    )


def model_of(request: JobRequest) -> types_pb2.ModelVersion:
    """The exact version that a job is for."""
    return types_pb2.ModelVersion(name=request.model, version=request.version, digest=request.digest)


def describe_model(manifest: Manifest) -> models_pb2.Model:
    """A model as clients see it."""
    return models_pb2.Model(
        name=manifest.name,
        version=manifest.version,
        family=manifest.family or "",
        variant=manifest.variant,
        height=manifest.height,
        width=manifest.width,
        palette=manifest.palette,
        graphs=sorted(manifest.graphs),
        latent_size=manifest.latent_size,
        digest=manifest.digest,
        licence=manifest.data.licence,
        medium=manifest.medium,
        signatures=[_graph(name, manifest.graphs[name]) for name in sorted(manifest.graphs)],
    )


def _graph(name: str, graph: Graph) -> models_pb2.Graph:
    return models_pb2.Graph(
        name=name,
        inputs=map(_tensor, graph.inputs),
        outputs=map(_tensor, graph.outputs),
        is_batched=graph.is_batched,
    )


def _tensor(tensor: Tensor) -> models_pb2.Tensor:
    return models_pb2.Tensor(name=tensor.name, type=tensor.type, shape=tensor.shape)


def timestamp(seconds: float | None) -> Timestamp | None:
    """Seconds since 1970 as a message; None stays None."""
    if seconds is None:
        return None
    found = Timestamp()
    found.FromMicroseconds(round(seconds * 1_000_000))
    return found
