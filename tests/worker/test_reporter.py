"""What a worker says about samples."""

from dataclasses import replace

from structlog.testing import capture_logs

from smalti.jobs.job import Origin
from tests.toy_model import write_toy_model
from tests.worker.story import a_claim, a_request
from worker.reporter import Reporter


def test_an_event_of_a_sample_names_the_rpc_that_submitted_its_job(tmp_path):
    claim = a_claim(a_request(write_toy_model(tmp_path)), 3)
    suspect = replace(claim, is_suspect=True, origin=Origin(rpc_id="order-66"))
    with capture_logs() as said:
        Reporter(clock=lambda: 0.0).claimed([suspect])
    [event] = [each for each in said if each["log_level"] == "info"]
    assert (event["job"], event["sample"], event["request_id"]) == ("job", 3, "order-66")
