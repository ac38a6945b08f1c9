"""The conformance matrix in the docs: every RPC is there, and every test that it names exists."""

import ast
import re
from pathlib import Path

from server.inference import protocol

PAGE = (Path(__file__).parents[3] / "docs/inference-protocol.md").read_text(encoding="utf-8")
MATRIX = PAGE.partition("## What is answered")[2]


def test_every_rpc_has_an_answer():
    for method in protocol.METHODS:
        short = re.sub(r"^(SystemSharedMemory|CudaSharedMemory)(?=Status|Unregister)", "", method.name)
        assert re.search(rf"\b({method.name}|{short})\b", MATRIX), method.name


def test_every_test_that_the_matrix_names_exists():
    files = Path(__file__).parents[1].rglob("test_*.py")
    functions = (node for file in files for node in ast.parse(file.read_text(encoding="utf-8")).body)
    known = {node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    named = set(re.findall(r"`(test_\w+)`", MATRIX))
    assert named
    assert not named - known
