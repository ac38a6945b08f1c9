"""Clusters of real processes for the system tests; the report of a failed test has their logs."""

import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from smalti.runtime.stopping import interrupting
from tests.system.cluster import ROOT, Cluster
from tests.toy_model import Toy, write_toy_model

TOY = "toy-pixel-rnn"  # each pixel depends on all before it, so a lost, repeated or wrong row is noticed
DIGITS = "digits-pixel-rnn"  # trained, shipped
POISONED, POISON = "toy-poisoned", 3  # it gives NaN after this colour
_LOG_LINES = 40
_CLUSTERS = pytest.StashKey[list[Cluster]]()
_FIGURES = pytest.StashKey[dict[str, list[float]]]()

Draw = Callable[..., dict[int, bytes]]
Measured = Callable[[str, float], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for cluster in item.config.stash.get(_CLUSTERS, []):
            for name, log in cluster.logs().items():
                report.sections.append((f"log of {name}", "\n".join(log.splitlines()[-_LOG_LINES:])))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, seconds in sorted(config.stash.get(_FIGURES, {}).items()):
        listed = " ".join(f"{value:.2f}" for value in seconds)
        terminalreporter.write_line(f"measured: {what}: {listed} s")


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """SIGTERM ends a test run as Ctrl-C does, so that all processes are stopped."""
    with interrupting():
        yield


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """`measured("what", seconds)` puts a figure into the summary of the run."""

    def note(what: str, seconds: float) -> None:
        request.config.stash.setdefault(_FIGURES, {}).setdefault(what, []).append(seconds)

    return note


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped digit models, and a toy model that draws many rows fast."""
    folder = tmp_path_factory.mktemp("repository")
    for model in sorted((ROOT / "model_repository").glob("digits-*")):
        shutil.copytree(model, folder / model.name)
    write_toy_model(folder, Toy(name=TOY, height=64, width=6))
    write_toy_model(folder, Toy(name=POISONED, poison=POISON))
    return folder


@pytest.fixture(scope="session")
def calm(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster with one worker and default settings; no test kills its processes."""
    with _cluster(request, tmp_path_factory, repository=repository, slots=32, lease_seconds=10.0) as cluster:
        cluster.ready(workers=1)
        yield cluster


@pytest.fixture(scope="module")
def stormy(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster whose processes tests may kill; each worker has only two slots, so that jobs take long."""
    with _cluster(request, tmp_path_factory, repository=repository, slots=2, lease_seconds=0.5) as cluster:
        yield cluster


@pytest.fixture
def pair(stormy: Cluster) -> Cluster:
    """The stormy cluster, repaired, with two workers."""
    stormy.ready(workers=2)
    return stormy


@pytest.fixture(scope="session")
def undisturbed(calm: Cluster) -> Draw:
    """`undisturbed(model, count=…, seed=…)`: the right pixels of a job, drawn once for all tests."""
    drawn: dict[str, dict[int, bytes]] = {}

    def draw(model: str, **options: Any) -> dict[int, bytes]:
        key = f"{model} {sorted(options.items())}"
        if key not in drawn:
            drawn[key] = calm.draw(model, **options)
            assert len(drawn[key]) == options["count"]
        return drawn[key]

    return draw


def _cluster(request: pytest.FixtureRequest, folders: pytest.TempPathFactory, **settings: Any) -> Cluster:
    cluster = Cluster(folders.mktemp(request.fixturename or "cluster"), **settings)
    request.config.stash.setdefault(_CLUSTERS, []).append(cluster)
    return cluster
