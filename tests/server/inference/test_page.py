"""The examples in Python of the page about the protocol run as they are, but for the server's address."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Running

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/inference-protocol.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
ADDRESS = "localhost:50051"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Those of the shipped models that the examples name."""
    for folder in (ROOT / "model_repository").iterdir():
        if any(f'"{folder.name}.' in example for example in EXAMPLES):
            shutil.copytree(folder, tmp_path / "models" / folder.name)
    return tmp_path / "models"


async def test_the_examples_of_the_page_run(server: Running):
    assert EXAMPLES
    for example in EXAMPLES:
        assert ADDRESS in example
        code = compile(example.replace(ADDRESS, server.address), "docs/inference-protocol.md", "exec")
        names: dict[str, Any] = {}
        await asyncio.to_thread(exec, code, names)  # in a thread, because the server runs in this one
        assert names["pixels"].shape[0] == 1
