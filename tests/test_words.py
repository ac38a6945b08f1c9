"""The words of the repository are those of the glossary; docstrings and test names are plain sentences."""

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs/glossary.md"

# Words of the glossary's column "not" that a tool cannot check, because they are right where they mean something else.
LEFT_TO_READERS: Mapping[str, str] = {
    "code": "also means source code",
    "noise": "a VAE's bound and a GAN need noise",
    "z": "one letter",
    "predict": "counting baselines predict a pixel",
    "infer": "onnxruntime's classes and the Open Inference Protocol have it in their names",
    "ignore": "tools have such an option",
    "priority": "one-shot requests have one, as in Triton; jobs have a class",
    "config": "a command of Redis, and a file of a tool",
    "task": "asyncio has tasks, and a training has one",
    "status": "gRPC has a status, as the glossary says",
    "save": "files are saved",
    "lock": "threads need locks",
    "sweep": "a command of smalti",
    "namespace": "a word of Python and mypy",
    "down": "also means a direction",
    "step": "a training has steps",
    "a job's progress": "not a word but an explanation",
    "row of the batch": "checked below, in the plural too",
    "batch row": "checked below, with 'row of a batch'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A forbidden word, where it is forbidden, and where it is right all the same."""

    pattern: str
    instead: str
    folders: tuple[str, ...] = ("",)  # all of them
    right: str = r"(?!)"  # lines that match this pass; the default matches no line


_PIXELS = ("models/", "training/", "evaluation/", "export/")
_DRAWING = (
    "models/",
    "worker/",
    "server/",
    "tests/models/",
    "tests/worker/",
    "tests/server/",
    "tests/toy_model.py",
)
_JOBS = ("smalti/jobs/", "worker/", "server/", "tests/smalti/jobs/", "tests/worker/", "tests/server/")

# Words with a rule of their own, most of them because they have a second meaning that is right.
SPECIAL: Mapping[str, Word] = {
    "colormap": Word(
        pattern="colormap",
        instead="palette",
        right=r"colormap\\?\.txt",  # a file of the lecture's format
    ),
    "vocabulary": Word(pattern="vocab(ulary)?", instead="palette"),
    "token": Word(pattern="token", instead="pixel", folders=_PIXELS),  # elsewhere fencing and bearer tokens
    "prefix": Word(
        pattern="(?<!_)prefix",  # elsewhere keys and names have one; thread_name_prefix is Python's
        instead="kept pixels",
        folders=_DRAWING,
        right=r"\"prefix\"",  # the input of the Open Inference Protocol's model `draw`
    ),
    "prompt": Word(
        pattern="prompt",  # elsewhere it is a shell's
        instead="kept pixels",
        folders=(*_DRAWING, "smalti/", "proto/", "docs/", "README.md"),
    ),
    "attempt": Word(
        pattern="attempt",
        instead="crash (of a sample)",
        folders=_JOBS,
        right=r"attempts? to (connect|index)|for attempt in|, attempt$|attempt /",  # of a connection, of Lua, of a test
    ),
    "evict": Word(
        pattern="evict",
        instead="make way",
        right=r"(?i)redis|maxmemory|AOF|evicts_nothing|EVICTING",  # Redis evicts keys
    ),
    "poison": Word(
        pattern="poison",
        instead="suspect",
        folders=_JOBS[:3],  # a toy model of the tests has a colour of this name
    ),
    "entry": Word(
        pattern="batch row|rows? of (the|a|its|one) batch",
        instead="entry",
    ),
    "picture row": Word(pattern="picture row", instead="row"),
    "urgent": Word(pattern="urgent", instead="interactive"),
    "preempt": Word(pattern="preempt", instead="make way"),
    "oust": Word(pattern="oust", instead="make way"),
}

# What is not checked, with the reason.
EXCLUDED: Mapping[str, str] = {
    "docs/glossary.md": "lists the words that are forbidden",
    "tests/test_words.py": "lists them too",
    "docs/experiments/": "quotes papers and their words",
    "smalti/v1/": "generated from proto/, which is checked",
    "proto/inference/": "the words of the Open Inference Protocol",
    "model_repository/": "graphs, and manifests that exports have written",
    "benchmarks/results/": "written by commands",
    "training/data/sprites.txt": "names of other people's files",
    "constraints.txt": "names of packages",
    "LICENSE": "a legal text",
}


def repository() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({name for name in listed.stdout.split("\0") if (ROOT / name).is_file()})


def texts() -> Iterator[tuple[str, str]]:
    for name in repository():
        if not name.startswith(tuple(EXCLUDED)):
            content = (ROOT / name).read_bytes()
            if b"\0" not in content:
                yield name, content.decode("utf-8")


def python_files() -> list[str]:
    return [name for name in repository() if name.endswith(".py") and not name.startswith("smalti/v1/")]


def glossary() -> dict[str, str]:
    """The words of the column "not", each with the word to use instead."""
    found = {}
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and cells[0] not in ("word", "---"):
            for word in re.sub(r"\([^)]*\)", "", cells[2]).split(","):
                if word.strip():
                    found[word.strip()] = cells[0]
    return found


def words() -> list[Word]:
    plain = {
        word: Word(pattern=re.escape(word), instead=instead)
        for word, instead in glossary().items()
        if word not in LEFT_TO_READERS and word not in SPECIAL
    }
    return [*plain.values(), *SPECIAL.values()]


def faults(name: str, text: str, word: Word) -> list[str]:
    """`file:line: …` for every line with the word; identifiers are read as words too."""
    if not name.startswith(word.folders):
        return []
    found = re.compile(rf"(?<![a-z])({word.pattern})(s|d|ed|ing|ion|ions)?(?![a-z])", re.IGNORECASE)
    return [
        f"{name}:{number}: say {word.instead!r}: {line.strip()[:100]}"
        for number, line in enumerate(text.splitlines(), 1)
        if found.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", line)) and not re.search(word.right, line)
    ]


def test_no_file_uses_a_word_that_the_glossary_replaces():
    forbidden = words()
    found = [fault for name, text in texts() for word in forbidden for fault in faults(name, text, word)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "an urgent job",
        "class UrgentJob:",
        "max_urgent = 3",
        "def preempted():",
        "one picture row for each",
        "one batch row each",
        "no attempt is charged",
        "try another prefix",
        "the colormap of the model",
    ],
)
def test_forbidden_words_are_found_in_prose_and_in_names(line):
    assert any(faults("worker/example.py", line, word) for word in words())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("training/data/sources.py", 'COLOURS = "colormap.txt"'),
        ("smalti/jobs/keys.py", "def prefix(self) -> str:"),
        ("worker/engine.py", 'ThreadPoolExecutor(thread_name_prefix="engine")'),
        ("docs/operations.md", "a Redis that evicts keys is unfit"),
        ("smalti/client/channel.py", "10 s for each attempt"),
        ("server/errors.py", "the fencing token is old"),
        ("README.md", "reapply a preemptive change"),
    ],
)
def test_the_same_words_pass_where_they_mean_something_else(name, line):
    assert not [fault for word in words() for fault in faults(name, line, word)]


def test_every_excluded_path_exists():
    names = repository()
    assert not [path for path in EXCLUDED if not any(name.startswith(path) for name in names)]


def test_every_module_says_what_it_is_in_its_first_line():
    found = []
    for name in python_files():
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        first = (ast.get_docstring(tree) or "").partition("\n")[0]
        needs_one = len(tree.body) > 1 and not name.startswith("tests/")
        if (first or needs_one) and not first.endswith((".", ":")):
            found.append(f"{name}:1: the docstring's first line is no sentence: {first!r}")
    assert not found, "\n" + "\n".join(found)


def test_names_of_tests_are_plain_sentences():
    riddle = re.compile(r"def (test_\w*(?:_of_which_|_of_whom_|_what_stands_)\w*)")
    found = [
        f"{name}:{number}: name the behaviour: {hit[1]}"
        for name in python_files()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1)
        if (hit := riddle.search(line))
    ]
    assert not found, "\n" + "\n".join(found)
