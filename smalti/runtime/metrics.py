"""Every metric of smalti, declared once. Processes update them at their edges, never inside the arithmetic.

Names follow Prometheus: `smalti_<thing>_<unit>[_total]`, base units, no label with values that a client could invent.
Each gauge says how a server of several processes joins theirs: `livesum` adds what each has, `livemostrecent` takes
what was seen last of the one queue; `sum` keeps what ended processes had. Counters and histograms are added.
"""

import os
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIServer

FOLDER_VARIABLE, FOLDER_PREFIX = "PROMETHEUS_MULTIPROC_DIR", "smalti-metrics-"
# prometheus_client reads the variable at its import; one of another program would put smalti's metrics into its folder.
if not Path(os.environ.get(FOLDER_VARIABLE, "")).name.startswith(FOLDER_PREFIX):
    os.environ.pop(FOLDER_VARIABLE, None)

from prometheus_client import (  # noqa: E402
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    make_wsgi_app,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

from smalti.errors import SettingsInvalid  # noqa: E402
from smalti.printable import printable  # noqa: E402
from smalti.runtime.metrics_token import guarded  # noqa: E402

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SLOW = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300, 1800, 7200, 43200)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

# Server
RPC_SECONDS = Histogram(
    "smalti_rpc_seconds",
    "Time to answer an RPC, streams until their end.",
    ["service", "method", "code"],
    buckets=(*_FAST, 60, 600),
)
RPCS_IN_PROGRESS = Gauge(
    "smalti_rpcs_in_progress", "RPCs being answered now.", ["service", "method"], multiprocess_mode="livesum"
)
RPCS_REFUSED = Counter(
    "smalti_rpcs_refused_total",
    "RPCs that were refused before they began: no_token, wrong_token, or no_group for this RPC.",
    ["reason"],
)
BATCH_WAIT_SECONDS = Histogram(
    "smalti_batch_wait_seconds",
    "Time a one-shot request waited for its batch.",
    ["model", "graph"],
    buckets=_FAST,
)
BATCH_COMPUTE_SECONDS = Histogram(
    "smalti_batch_compute_seconds", "Time of one run of a one-shot graph.", ["model", "graph"], buckets=_FAST
)
BATCH_ENTRIES = Histogram(
    "smalti_batch_entries",
    "Images or latents in one run of a one-shot graph.",
    ["model", "graph"],
    buckets=_SIZES,
)
PICTURE_PIXELS = Gauge(
    "smalti_picture_pixels",
    "Pixels of admitted requests whose pictures are read or written.",
    multiprocess_mode="livesum",
)
MODEL_LOAD_SECONDS = Histogram(
    "smalti_model_load_seconds", "Time to load, check and warm a model.", ["model"], buckets=_SLOW
)

# Queue, as seen by the process that exports it
QUEUED_JOBS = Gauge(
    "smalti_queue_jobs", "Jobs that have not ended.", ["state"], multiprocess_mode="livemostrecent"
)
QUEUE_SAMPLES = Gauge(
    "smalti_queue_samples",
    "Samples of jobs that have not ended, waiting (ready) or in slots (running).",
    ["state"],
    multiprocess_mode="livemostrecent",
)
QUEUE_AGE_SECONDS = Gauge(
    "smalti_queue_oldest_age_seconds",
    "Age of the oldest job that waits for its first sample.",
    multiprocess_mode="livemostrecent",
)
QUEUE_WORKERS = Gauge(
    "smalti_queue_workers", "Workers that hold a lease.", multiprocess_mode="livemostrecent"
)
JOBS_SUBMITTED = Counter("smalti_jobs_submitted_total", "Jobs accepted by this server.", ["model"])
RECOVERED_SAMPLES = Counter(
    "smalti_recovered_samples_total", "Samples taken back from workers that fell silent."
)
WEBHOOKS = Counter(
    "smalti_webhooks_total",
    "Webhooks: delivered, failed (a try; there will be others), given up.",
    ["outcome"],
)
OVERDUE_JOBS = Counter("smalti_overdue_jobs_total", "Jobs that were stopped at their deadlines.")
CORRECTED_TOTALS = Counter(
    "smalti_corrected_totals_total", "Totals of the queue that a recount found wrong and corrected."
)
REPAIRS = Counter("smalti_queue_repairs_total", "Repairs of the queue by its audit; must stay 0.", ["what"])

# Worker
QUEUE_WAIT_SECONDS = Histogram(
    "smalti_queue_wait_seconds", "Time from submit until a sample was claimed.", ["model"], buckets=_SLOW
)
TIME_TO_FIRST_ROW_SECONDS = Histogram(
    "smalti_time_to_first_row_seconds",
    "Time from submit until a job's first row was committed.",
    ["model"],
    buckets=_SLOW,
)
JOB_SECONDS = Histogram(
    "smalti_job_seconds", "Time from submit until a job's last sample ended.", ["model"], buckets=_SLOW
)
TICK_SECONDS = Histogram(
    "smalti_tick_seconds", "Time to draw one row of every occupied slot.", ["model"], buckets=_FAST
)
TICK_ROWS = Histogram("smalti_tick_rows", "Slots that drew a row in one tick.", ["model"], buckets=_SIZES)
COMMIT_SECONDS = Histogram("smalti_commit_seconds", "Time to commit the rows of one tick.", buckets=_FAST)
SLOTS = Gauge("smalti_slots", "Slots of this worker.", multiprocess_mode="livesum")
SLOTS_OCCUPIED = Gauge("smalti_slots_occupied", "Slots that hold a sample.", multiprocess_mode="livesum")
ROWS_DRAWN = Counter("smalti_rows_drawn_total", "Rows drawn, including rows drawn again.", ["model"])
SAMPLES_ENDED = Counter("smalti_samples_ended_total", "Samples that left a slot.", ["model", "outcome"])
SAMPLES_MADE_WAY = Counter(
    "smalti_samples_made_way_total",
    "Samples given back to make way for interactive ones.",
    ["model"],
)
FENCED_WRITES = Counter("smalti_fenced_writes_total", "Writes refused because the sample had a new owner.")
CORRUPT_COMMITS = Counter(
    "smalti_corrupt_commits_total", "Commits that contradict committed rows; must stay 0."
)


def _grows(name: str, means: str, *more_labels: str) -> Gauge:
    """One of Triton's counters. A gauge, because prometheus_client would add `_total` to the name of a counter.

    What processes that have ended counted is still in it.
    """
    return Gauge(name, means, ["model", "version", *more_labels], multiprocess_mode="sum")


# Triton's names, so that its dashboards work; a model is `<model>.<graph>`. server/inference/exporting.py sets them.
NV_SUCCESS = _grows(
    "nv_inference_request_success", "Answered requests of the Open Inference Protocol's models."
)
NV_FAILURE = _grows(
    "nv_inference_request_failure",
    "Requests without an answer: REJECTED before their run, CANCELED, failed in the BACKEND, or OTHER.",
    "reason",
)
NV_COUNT = _grows("nv_inference_count", "Entries of answered requests.")
NV_EXEC_COUNT = _grows("nv_inference_exec_count", "Runs, each of one batch.")
NV_REQUEST_US = _grows(
    "nv_inference_request_duration_us", "Microseconds of answered requests, from arrival to answer."
)
NV_QUEUE_US = _grows(
    "nv_inference_queue_duration_us", "Microseconds that answered requests waited for a run."
)
NV_COMPUTE_INPUT_US = _grows(
    "nv_inference_compute_input_duration_us",
    "Microseconds of joining the inputs of a batch, for each request.",
)
NV_COMPUTE_INFER_US = _grows(
    "nv_inference_compute_infer_duration_us", "Microseconds of runs, for each request in them."
)
NV_COMPUTE_OUTPUT_US = _grows(
    "nv_inference_compute_output_duration_us",
    "Microseconds of dividing the outputs of a batch, for each request.",
)
NV_PENDING = Gauge(
    "nv_inference_pending_request_count",
    "Requests that wait for a run.",
    ["model", "version"],
    multiprocess_mode="livesum",
)


def joined(folder: Path) -> CollectorRegistry:
    """The metrics of all processes that had this folder in FOLDER_VARIABLE, those that have ended included."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return registry


class MetricsServer:
    """Serves `/metrics`, of this process unless another registry is given. Port 0 takes any free port: see `port`.

    With a `token_file`, only requests with the token in it are answered. Raises SettingsInvalid.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry = REGISTRY,
        *,
        token_file: Path | None = None,
    ) -> None:
        page = make_wsgi_app(registry)
        answer = guarded(page, token_file) if token_file else page
        try:
            self._server, self._thread = start_http_server(
                port,
                addr=host.strip("[]"),
                registry=CollectorRegistry(),  # empty, until the page is guarded
            )
            self._server.set_app(answer)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "there is no host of this name"
            raise SettingsInvalid(
                f"SMALTI_METRICS_HOST, SMALTI_METRICS_PORT: cannot listen on "
                f"port {port} of {printable(host)}: {reason}."
            ) from error
        self.port: int = self._server.server_port

    _server: WSGIServer
    _thread: Thread

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
