"""The limit of open files: raised as far as the system allows, and one sentence where that is not enough."""

import resource
import subprocess
import sys

import pytest

ALLOW = "import resource; from smalti.runtime import open_files; open_files.allow_many(); "
PRINT = "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"


def limited(soft: int, hard: int, *command: str) -> "subprocess.CompletedProcess[str]":
    """A command that has run with these limits."""
    limits = f"import resource, os, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
    words = [
        sys.executable,
        "-c",
        f"{limits} os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
        *command,
    ]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("soft", [64, 300, 1000])
def test_a_process_may_open_as_many_files_as_the_system_allows(soft):
    hard = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert limited(soft, hard, "-c", ALLOW + PRINT).stdout == f"{hard}\n"


@pytest.mark.parametrize("application", ["server", "worker"])
def test_too_few_files_end_a_process_with_one_sentence(application):
    ended = limited(19, 64, "-m", application)
    assert ended.returncode == 1
    assert "only 64 files and connections open, and needs 256: raise the limit" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
