"""Tracing is off by default, and then nothing of OpenTelemetry is imported."""

import logging
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from smalti.errors import SettingsInvalid
from smalti.runtime import tracing
from smalti.runtime.otlp import _Complaints
from smalti.runtime.settings import ServerSettings, WorkerSettings, read_settings
from smalti.runtime.spans import NO_SPAN

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

PROCESSES = ["server.process", "server.supervisor", "worker.__main__"]


def exporting(endpoint):
    return tracing.exporting(endpoint, service="smalti-test", grace_seconds=1.0)


@pytest.mark.parametrize("module", PROCESSES)
def test_what_serves_imports_no_exporter(module):
    """Given the extra, but no endpoint, then what sends spans is not imported; redis-py imports some for itself."""
    look = f"import sys, {module}; print({{'smalti.runtime.otlp', 'opentelemetry.exporter'}} & sys.modules.keys())"
    assert said(look) == "set()"


@pytest.mark.parametrize("module", PROCESSES)
def test_what_serves_needs_no_opentelemetry(module):
    assert (
        said(f"import sys; sys.modules['opentelemetry'] = None; import {module}; print('imported')")
        == "imported"
    )


def said(code):
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.mark.parametrize("kind", [ServerSettings, WorkerSettings])
def test_no_endpoint_is_set_by_default(kind, monkeypatch):
    monkeypatch.delenv("SMALTI_OTLP_ENDPOINT", raising=False)
    assert read_settings(kind).otlp_endpoint == ""


@pytest.mark.parametrize(
    "endpoint", ["localhost:4317", "http://localhost", "ftp://a:1", "http://name:word@host:1"]
)
def test_an_endpoint_of_no_good_form_is_refused_with_an_example(endpoint, monkeypatch):
    monkeypatch.setenv("SMALTI_OTLP_ENDPOINT", endpoint)
    with pytest.raises(SettingsInvalid, match=r"SMALTI_OTLP_ENDPOINT is .* such as http://localhost"):
        read_settings(ServerSettings)


async def test_without_an_endpoint_there_are_no_spans():
    async with exporting(""):
        assert not tracing.is_on()
        with tracing.rpc("Submit", parent=PARENT, attributes={}) as span:
            assert span is tracing.current() is tracing.start("sample", parent=PARENT) is NO_SPAN
            tracing.record({"run": (1, 2)}, {})


async def test_the_current_span_is_that_of_the_rpc():
    """Given a receiver (here: none listens), when an RPC runs, then its span is the current one until it ends."""
    async with exporting("http://127.0.0.1:9"):
        with tracing.rpc("Submit", parent=PARENT, attributes={}) as span:
            assert tracing.current() is span
            assert span.traceparent.split("-")[1] == PARENT.split("-")[1]
            assert span.traceparent != PARENT
        assert tracing.current() is tracing.start("sample", parent="") is NO_SPAN
    assert not tracing.is_on()


async def test_a_missing_extra_is_one_sentence(monkeypatch):
    """Given an endpoint, when OpenTelemetry is not installed, then the process says what to install."""
    monkeypatch.delitem(sys.modules, "smalti.runtime.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsInvalid, match=r"install smalti\[otel\]"):
        async with exporting("http://127.0.0.1:4317"):
            pass


def test_a_receiver_that_is_away_is_logged_once_a_minute():
    times = iter((100.0, 101.0, 159.0, 160.0))
    complaints = _Complaints(lambda: next(times))
    record = logging.LogRecord("opentelemetry", logging.WARNING, "", 0, "failed to %s", ("export",), None)
    with capture_logs() as logs:
        for _ in range(4):
            complaints.emit(record)
    assert [(event["event"], event["reason"]) for event in logs] == [
        ("spans are not delivered", "failed to export")
    ] * 2
