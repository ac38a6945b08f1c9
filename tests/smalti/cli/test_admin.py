"""`smalti admin`: what each of its commands asks, and what it prints."""

import json

import pytest
from click.testing import CliRunner

from smalti.cli.main import main
from smalti.v1 import admin_pb2 as pb
from smalti.v1 import jobs_pb2, types_pb2


@pytest.fixture
def smalti(server):
    worker = pb.WorkerStatus(name="host-1", held=2, slots=4, lease_seconds=8.2, draining=True)
    client = pb.ClientStatus(name="ada", jobs=1, ready=5, running=2, pixels=700, bytes=9000, weight=2)
    sample = pb.DeadSample(job="7", index=3, client="ada", rows=5, error="It became\nNaN.")
    model = types_pb2.ModelVersion(name="toy", version=2)
    job = jobs_pb2.Job(
        id="7", model=model, count=9, seed=4, first_index=10, height=8, state="JOB_STATE_FAILED"
    )
    statistics = pb.StatisticsResponse(
        paused=True, queued_jobs=1, ready_samples=5, dead_samples=1, workers=[worker], clients=[client]
    )
    server.answers |= {
        "AdminService/Statistics": lambda request: statistics,
        "AdminService/PausePool": lambda request: pb.PausePoolResponse(),
        "AdminService/ResumePool": lambda request: pb.ResumePoolResponse(),
        "AdminService/DrainWorker": lambda request: pb.DrainWorkerResponse(),
        "AdminService/ListDead": lambda request: pb.ListDeadResponse(samples=[sample]),
        "AdminService/Retry": lambda request: pb.RetryResponse(
            job=jobs_pb2.Job(id="8", state="JOB_STATE_QUEUED")
        ),
        "AdminService/Audit": lambda request: pb.AuditResponse(repairs={"lost": 2, "counts": 1}),
        "JobService/Get": lambda request: job,
    }

    def run(*arguments):
        return CliRunner().invoke(main, ["admin", *arguments], env={"SMALTI_SERVER": server.address})

    return run


def words(result):
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines() if line.strip()]


def test_status_shows_the_pool_its_workers_and_its_clients(smalti):
    lines = words(smalti("status"))
    assert ["paused", "1", "0", "0", "5", "0", "1", "0", "s"] in lines
    assert ["host-1", "2", "4", "8.2", "s", "draining"] in lines
    assert ["ada", "1", "5", "2", "700", "9000", "2"] in lines
    assert json.loads(smalti("status", "--json").output)["workers"][0]["name"] == "host-1"


def test_a_pool_is_paused_and_goes_on(smalti, server):
    assert "smalti admin resume" in smalti("pause").output
    assert json.loads(smalti("resume", "--json").output) == {"paused": False}
    assert server.requests == [pb.PausePoolRequest(), pb.ResumePoolRequest()]


def test_a_worker_is_drained(smalti, server):
    assert smalti("drain", "host-1").output == "host-1 gets no more samples and ends.\n"
    assert server.requests == [pb.DrainWorkerRequest(worker="host-1")]


def test_an_unknown_worker_is_exit_code_3(smalti, server, refusal):
    def refuse(request):
        raise refusal("NOT_FOUND", "WORKER_NOT_FOUND", "There is no worker x.")

    server.answers["AdminService/DrainWorker"] = refuse
    result = smalti("drain", "x")
    assert (result.exit_code, result.stderr) == (3, "Error: There is no worker x.\n")


def test_failed_samples_are_listed_one_a_line(smalti, server):
    [headings, line] = smalti("dead", "--limit", "5").output.splitlines()
    assert headings.split() == ["JOB", "INDEX", "CLIENT", "FAILED", "ROWS", "ERROR"]
    assert line.split()[:3] == ["7", "3", "ada"]
    assert server.requests == [pb.ListDeadRequest(limit=5)]


def test_all_about_one_failed_sample(smalti):
    output = smalti("dead", "7", "3").output
    for part in ("toy version 2", "13 of seed 4", "5 of 8", "FAILED"):
        assert part in output
    assert json.loads(smalti("dead", "7", "3", "--json").output)["sample"]["index"] == 3
    assert smalti("dead", "7", "4").exit_code == 1  # no such failure


def test_a_failed_sample_is_drawn_again(smalti, server):
    assert smalti("retry", "7", "3").output == "8\n"
    assert server.requests == [pb.RetryRequest(job="7", index=3)]


def test_an_audit_lists_its_repairs_or_says_that_there_were_none(smalti, server):
    assert words(smalti("audit")) == [["REPAIRED", "TIMES"], ["counts", "1"], ["lost", "2"]]
    server.answers["AdminService/Audit"] = lambda request: pb.AuditResponse()
    assert smalti("audit").output == "The queue is as it must be.\n"
    assert json.loads(smalti("audit", "--json").output) == {}
