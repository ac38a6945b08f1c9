"""With OpenTelemetry, one trace leads from a submit over the queue and the rows to the result."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Lock

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from local.ports import free_ports
from smalti.client import Client
from smalti.jobs.job import JobState
from tests.system.cluster import Cluster, until
from tests.system.conftest import TOY

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY = "traceparent"
TRACED = ((KEY, f"00-{TRACE}-{CALLER}-01"),)
SERVER, WORKER = "smalti-server", "smalti-worker"
SUBMIT, RESULTS = (SERVER, "smalti.v1.JobService/Submit"), (SERVER, "smalti.v1.JobService/Results")
SAMPLE, JOB = (WORKER, "sample"), (WORKER, "job")
WATCH, GET = "smalti.v1.JobService/Watch", "smalti.v1.ModelService/Get"


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """A receiver of OTLP by gRPC, on a port of its own, which keeps what comes."""

    def __init__(self):
        self._lock = Lock()
        self._spans = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request, context):
        with self._lock:
            for each in request.resource_spans:
                service = _attributes(each.resource)["service.name"]
                self._spans += [(service, span) for scope in each.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def stop(self):
        self._server.stop(None).wait()

    def spans(self, trace=TRACE):
        """The spans of a trace by service and name."""
        with self._lock:
            found = defaultdict(list)
            for service, span in self._spans:
                if span.trace_id.hex() == trace:
                    found[service, span.name].append(span)
            return found

    def named(self, name):
        """All spans of this name, whatever trace they belong to."""
        with self._lock:
            return [span for _, span in self._spans if span.name == name]


def _attributes(holder):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in holder.attributes}


@pytest.fixture(scope="module")
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def start(repository, tmp_path_factory):
    """`start(SETTING=…)` starts a cluster with one worker."""
    with ExitStack() as clusters:

        def start(**settings):
            folder = tmp_path_factory.mktemp("traced")
            cluster = clusters.enter_context(Cluster(folder, repository=repository, settings=settings))
            cluster.ready(workers=1)
            return cluster

        yield start


@pytest.fixture(scope="module")
def traced(start, receiver):
    """A cluster that sends its spans to the receiver; its server has two processes."""
    return start(SMALTI_OTLP_ENDPOINT=receiver.endpoint, SMALTI_SERVER_PROCESSES="2")


@pytest.fixture(scope="module")
def drawn(traced, receiver):
    """The spans of a job of three samples by service and name, from its submit to its results."""
    with Client(traced.address, metadata=TRACED) as client:
        job = client.submit(TOY, count=3, seed=7)
        assert traced.ended(job).state is JobState.SUCCEEDED
        assert len(list(client.results(job.id))) == 3
    until(lambda: {RESULTS, JOB} <= receiver.spans().keys(), what="the last spans have come")
    until(lambda: len(receiver.spans()[SAMPLE]) == 3, what="all samples have come")
    return receiver.spans()


def test_one_trace_leads_from_the_submit_to_the_results(drawn):
    """Given a client that traces, when it draws three samples, then server and worker go on with its trace."""
    [submit], [results] = drawn[SUBMIT], drawn[RESULTS]
    assert submit.parent_span_id.hex() == results.parent_span_id.hex() == CALLER
    below = {
        name: [span.parent_span_id for span in drawn[WORKER, name]] for name in ("queue", "sample", "job")
    }
    assert below == {
        "queue": [submit.span_id] * 3,
        "sample": [submit.span_id] * 3,
        "job": [submit.span_id],
    }


def test_rows_and_the_last_commit_lie_under_their_sample(drawn):
    samples = {span.span_id: _attributes(span)["smalti.sample"] for span in drawn[SAMPLE]}
    assert sorted(samples.values()) == [0, 1, 2]
    for name in ("rows", "commit"):
        children = drawn[WORKER, name]
        assert {span.parent_span_id for span in children} == samples.keys()
        for span in children:
            assert _attributes(span)["smalti.sample"] == samples[span.parent_span_id]


def test_a_sample_has_one_span_for_all_its_rows(drawn):
    """Given samples of 64 rows, then their spans count rows and commits, and mark the first of each."""
    for span in drawn[WORKER, "rows"]:
        assert _attributes(span)["smalti.rows"] == 64
        assert [event.name for event in span.events] == ["first row"]
    for span in drawn[SAMPLE]:
        said = _attributes(span)
        assert (said["smalti.outcome"], said["smalti.model"], said["smalti.resumed"]) == (
            "finished",
            TOY,
            False,
        )
        assert 1 <= said["smalti.commits"] <= 64
        assert [event.name for event in span.events] == ["first commit"]


def test_steps_follow_each_other(drawn):
    """The queue ends where the sample begins; rows and commit are within it."""
    [submit], [job] = drawn[SUBMIT], drawn[JOB]
    of = {
        name: {_attributes(span)["smalti.sample"]: span for span in drawn[WORKER, name]}
        for name in ("queue", "sample", "rows", "commit")
    }
    for number, sample in of["sample"].items():
        queue, rows, commit = (of[name][number] for name in ("queue", "rows", "commit"))
        assert queue.start_time_unix_nano < queue.end_time_unix_nano <= sample.start_time_unix_nano
        assert sample.start_time_unix_nano <= rows.start_time_unix_nano < rows.end_time_unix_nano
        assert rows.end_time_unix_nano <= sample.end_time_unix_nano
        assert commit.start_time_unix_nano < commit.end_time_unix_nano <= sample.end_time_unix_nano
    assert job.end_time_unix_nano >= max(span.end_time_unix_nano for span in drawn[SAMPLE])
    assert _attributes(submit)["rpc.grpc.status_code"] == 0


def test_reading_results_in_another_trace_links_to_the_submit(traced, receiver, drawn):
    """Given a drawn job, when a client that does not trace watches it, then that span links to its submit."""
    [submit] = drawn[SUBMIT]
    job = _attributes(drawn[JOB][0])["smalti.job"]
    *_, last = traced.client.watch(job)
    assert last.is_over
    [watch] = until(lambda: receiver.named(WATCH), what="the span of Watch has come")
    assert watch.trace_id != submit.trace_id
    assert [link.span_id for link in watch.links] == [submit.span_id]


def test_a_request_that_is_answered_at_once_says_how_long_it_waited_and_ran(traced, receiver):
    trace = "5bd66ef5095369c7b0d1f8f4bd33716a"
    with Client(traced.address, metadata=((KEY, f"00-{trace}-{CALLER}-01"),)) as client:
        client.draw("digits-vae", count=2)
    until(lambda: (SERVER, "run") in receiver.spans(trace))
    spans = receiver.spans(trace)
    [draw] = spans[SERVER, "smalti.v1.ImageService/Draw"]
    [wait], [run] = spans[SERVER, "batch wait"], spans[SERVER, "run"]
    assert wait.parent_span_id == run.parent_span_id == draw.span_id
    assert draw.start_time_unix_nano <= wait.start_time_unix_nano <= run.start_time_unix_nano
    assert run.end_time_unix_nano <= draw.end_time_unix_nano
    assert _attributes(run) == {"smalti.graph": "digits-vae.decode", "smalti.entries": 2}


@pytest.mark.parametrize("traceparent", ["nonsense", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}", ""])
def test_a_traceparent_of_no_good_form_begins_a_trace_of_its_own(traced, receiver, traceparent):
    before = len(receiver.named(GET))
    with Client(traced.address, metadata=((KEY, traceparent),)) as client:
        client.model(TOY)
    spans = until(lambda: receiver.named(GET)[before:])
    assert [span.parent_span_id for span in spans] == [b""]


def test_what_a_client_does_not_want_sampled_is_not_sent(traced, receiver):
    """Given a traceparent that says "not sampled", then neither server nor worker sends a span of it."""
    trace, after = "11111111111111111111111111111111", "22222222222222222222222222222222"
    for each, sampled in ((trace, "00"), (after, "01")):
        with Client(traced.address, metadata=((KEY, f"00-{each}-{CALLER}-{sampled}"),)) as client:
            assert traced.ended(client.submit(TOY, count=1)).state is JobState.SUCCEEDED
    until(lambda: {SUBMIT, JOB} <= receiver.spans(after).keys())
    assert not receiver.spans(trace)


def test_a_receiver_that_is_away_harms_nothing(start):
    """Given an endpoint where nobody listens, then jobs are drawn, and server and worker stop in order."""
    cluster = start(SMALTI_OTLP_ENDPOINT=f"http://127.0.0.1:{free_ports(workers=0).server}")
    with Client(cluster.address, metadata=TRACED) as client:
        assert traced_images(client, cluster) == 3
    for process in (cluster.server, *cluster.workers):
        process.terminate()
        assert process.wait() == 0
        assert "Traceback" not in process.said()


def traced_images(client, cluster):
    job = cluster.ended(client.submit(TOY, count=3, seed=7))
    return len(list(client.results(job.id)))


def test_spans_that_have_just_ended_are_sent_when_a_process_stops(start):
    """Given processes that send hardly ever, when they stop in order, then their spans come all the same."""
    receiver = Receiver()
    cluster = start(SMALTI_OTLP_ENDPOINT=receiver.endpoint, OTEL_BSP_SCHEDULE_DELAY="3600000")
    with Client(cluster.address, metadata=TRACED) as client:
        assert traced_images(client, cluster) == 3
    assert not receiver.spans()
    for process in (cluster.server, *cluster.workers):
        process.terminate()
        assert process.wait() == 0
    spans = receiver.spans()
    assert len(spans[SUBMIT]) == 1
    assert len(spans[SAMPLE]) == 3
    receiver.stop()
