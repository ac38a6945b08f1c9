"""Every fault in docs/failure-matrix.md has tests, and they exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs/failure-matrix.md"
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def lines() -> Iterator[tuple[str, list[str]]]:
    """Each fault of the page, and the tests beside it."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| fault "):
            fault, _, tests = line.strip("| ").split(" | ")
            yield fault, [":".join(found) for found in NAMED.findall(tests)]


@cache
def names_in(file: str) -> set[str]:
    """The tests in a file below tests/; empty if there is no such file."""
    path = TESTS / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {function.name for function in functions}


@pytest.mark.parametrize(("fault", "tests"), [*lines()])
def test_every_fault_of_the_matrix_is_held_by_tests_that_exist(fault, tests):
    assert tests, f"no test is named for: {fault}"
    for test in tests:
        file, name = test.split(":")
        assert name in names_in(file), f"{file} has no {name}"


def test_the_matrix_is_read_as_a_whole():
    assert len([*lines()]) >= 30
