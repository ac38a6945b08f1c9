"""The project's own files agree with each other: locked versions, documented settings, what is installed where."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from smalti.runtime.settings import ServerSettings, SharedSettings, WorkerSettings

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def locked_versions():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in pins}


def needed_by(extra):
    """The names of all packages that an extra requires directly, including those of the extras inside it."""
    names = set()
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == PROJECT["name"]:
            names |= {name for inner in requirement.extras for name in needed_by(inner)}
        else:
            names.add(canonicalize_name(requirement.name))
    return names


def every_requirement():
    texts = [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
    return [requirement for requirement in map(Requirement, texts) if requirement.name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", every_requirement(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_locked_to_a_version_it_allows(requirement):
    pin = locked_versions()[canonicalize_name(requirement.name)]
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version)


@pytest.mark.parametrize("extra", ["processes", "serve", "serve-gpu", "demo"])
def test_what_serves_installs_no_torch(extra):
    assert not needed_by(extra) & {"torch", "onnx", "onnxscript", "scikit-learn", "matplotlib"}


def test_no_extra_installs_both_kinds_of_onnxruntime():
    assert not [extra for extra in EXTRAS if {"onnxruntime", "onnxruntime-gpu"} <= needed_by(extra)]


def test_the_version_is_the_same_everywhere():
    package = (ROOT / "smalti/__init__.py").read_text()
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f'__version__ = "{PROJECT["version"]}"' in package
    assert f"image: smalti:{PROJECT['version']}\n" in compose


@pytest.mark.parametrize("settings", [SharedSettings, ServerSettings, WorkerSettings])
def test_every_setting_is_in_the_example_environment(settings):
    documented = set(re.findall(r"^#(SMALTI_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert {f"SMALTI_{name.upper()}" for name in settings.model_fields} <= documented


def test_every_metric_that_alerts_and_dashboards_name_is_declared():
    declared = set(re.findall(r'"(smalti_\w+)"', (ROOT / "smalti/runtime/metrics.py").read_text()))
    for file in ("deploy/alerts.yml", "deploy/grafana/smalti.json"):
        named = set(re.findall(r"\bsmalti_\w+", (ROOT / file).read_text()))
        assert named, file
        assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} <= declared, file
