"""Runs processes without root's right to read everything."""

import os
import shutil
from pathlib import Path

import pytest

_LOST = "-dac_override,-dac_read_search"
WITHOUT_RIGHTS = (
    "setpriv",
    f"--bounding-set={_LOST}",
    f"--inh-caps={_LOST}",
)  # goes before a command that root runs
NEEDS_ROOT = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv to lose its rights"
)


def lock(folder: Path) -> None:
    """Give the folder to another user and allow nobody else to read it."""
    os.chown(folder, 10001, 10001)
    folder.chmod(0o700)
