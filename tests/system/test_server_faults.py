"""The server stops, dies and comes back while clients are connected."""

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from smalti.client import DrawFinished, DrawStarted, Interrupted, Job, SampleEnded, SampleRows
from smalti.errors import Unavailable
from smalti.jobs.job import JobState
from tests.system.conftest import TOY

COUNT = 160


class Watcher:
    """Follows a job in a thread and keeps all events."""

    def __init__(self, cluster, job):
        self.events = []
        self.has_rows = Event()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._watching = self._thread.submit(self._watch, cluster.client, job)

    def _watch(self, client, job):
        for event in client.watch(job.id, rows=True, patience_seconds=60):
            self.events.append(event)
            if isinstance(event, SampleRows):
                self.has_rows.set()

    def wait(self):
        self._watching.result(timeout=100)
        self._thread.shutdown()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def images(self):
        """The rows of each sample put together; none may be missing or repeated."""
        images: defaultdict[int, bytes] = defaultdict(bytes)
        for rows in self.of(SampleRows):
            assert len(images[rows.index]) == rows.first_row * 6, "a row was missed or repeated"
            images[rows.index] += rows.indices
        return dict(images)


def restart_mid_watch(cluster, stop):
    """A job and its watcher, after the server stopped and came back."""
    job = cluster.submit(TOY, count=COUNT)
    watcher = Watcher(cluster, job)
    assert watcher.has_rows.wait(30)
    stop(cluster.server)
    cluster.ready_server()
    watcher.wait()
    return job, watcher


def kill(server):
    server.kill()


def terminate(server):
    server.terminate()
    assert server.wait() == 0


@pytest.mark.parametrize("stop", [kill, terminate])
def test_a_watch_goes_on_when_the_server_is_back_and_repeats_no_event(pair, undisturbed, stop):
    expected = undisturbed(TOY, count=COUNT)
    job, watcher = restart_mid_watch(pair, stop)
    assert watcher.of(Interrupted)
    assert watcher.of(Job)[-1].state is JobState.SUCCEEDED
    assert sorted(ended.index for ended in watcher.of(SampleEnded)) == list(range(COUNT))
    complete = {
        index: pixels for index, pixels in watcher.images().items() if len(pixels) == len(expected[0])
    }
    assert complete.items() <= expected.items()
    assert len(complete) > COUNT / 4  # some samples began and ended while the server was away
    assert pair.images(job) == expected


def test_a_stopping_server_finishes_the_image_that_it_streams(pair, undisturbed, measured):
    [expected] = undisturbed(TOY, count=1, seed=3).values()
    for worker in pair.workers:
        worker.pause()  # so that the image is not finished before the server stops
    events = pair.client.draw_stream(TOY, seed=3)
    assert isinstance(next(events), DrawStarted)
    began = time.monotonic()
    pair.server.terminate()
    for worker in pair.workers:
        worker.resume()
    *_, last = events
    assert isinstance(last, DrawFinished)
    assert last.image.indices == expected
    assert pair.server.wait() == 0
    measured("SIGTERM of a server that streams an image to its exit", time.monotonic() - began)


def test_one_shot_requests_during_a_stop_are_answered_or_raise_unavailable(pair):
    expected = pair.client.draw("digits-vae", count=8, seed=1).images
    stopping = Event()

    def ask():
        answers = 0
        while True:
            try:
                assert pair.client.draw("digits-vae", count=8, seed=1).images == expected
                answers += 1
            except Unavailable:
                assert stopping.is_set(), "refused before the server was stopped"
                return answers

    with ThreadPoolExecutor(max_workers=4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        before = pair.server.metric("smalti_rpc_seconds_count", method="Draw", code="OK")
        while pair.server.metric("smalti_rpc_seconds_count", method="Draw", code="OK") < before + 20:
            pass
        stopping.set()
        terminate(pair.server)
        assert sum(answers.result(timeout=60) for answers in asking) >= 20
