"""Runs processes without the right to read everything, which root has and users of the images have not."""

import os
import shutil
from pathlib import Path

import pytest

_LOST = "-dac_override,-dac_read_search"
WITHOUT_RIGHTS = ("setpriv", f"--bounding-set={_LOST}", f"--inh-caps={_LOST}")  # before a command of root's
NEEDS_ROOT = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv to lose its rights"
)


def lock(folder: Path) -> None:
    """Make it somebody else's, who lets nobody in."""
    os.chown(folder, 10001, 10001)
    folder.chmod(0o700)
