"""What the documents name exists: files, modules, settings, metrics; and the generated pages hold all that they should.

`make docs` checks more: every link and anchor of the site, and that each page is in the navigation.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import client, command, errors, metrics, protocol, settings
from docs.pages.links import leads_to, relinked, targets
from smalti import client as smalti_client
from smalti import errors as smalti_errors
from smalti.cli.main import main
from smalti.runtime.settings import ServerSettings, WorkerSettings
from smalti.v1 import admin_pb2, images_pb2, jobs_pb2, models_pb2, types_pb2

ROOT = Path(__file__).parent.parent
TOP = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
PAGES = [*TOP, *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
FOLDERS = {
    "benchmarks",
    "deploy",
    "docs",
    "evaluation",
    "examples",
    "export",
    "local",
    "model_repository",
    "models",
}
FOLDERS |= {"proto", "server", "smalti", "tests", "training", "worker"}
GENERATED = "docs/reference/"
FENCE = re.compile(r"\s*```")
ENDS_A_BLOCK = re.compile(r"\s*$|#+ ")  # an empty line, a heading
LIST_ITEM = re.compile(r"\s*([-*+]|\d+\.)\s")
TABLE_ROW = re.compile(r"\s*\|")
IN_CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?P<folder>[a-z_]+)/[\w./*-]*")
MODULE = re.compile(r"python3? -m ([a-z_]+(?:\.[a-z_0-9]+)*)")
OTHER_VARIABLES = {
    *(
        "SMALTI_SERVER",
        "SMALTI_CLIENT_NAME",
        "SMALTI_TOKEN",
        "SMALTI_TOKEN_FILE",
        "SMALTI_CA",
        "SMALTI_CERT",
        "SMALTI_KEY",
    ),  # of clients
    "SMALTI_LEASE_SECOND",  # a slip of the pen, as an example
}

pytestmark = pytest.mark.usefixtures("_at_the_top")


@pytest.fixture
def _at_the_top(monkeypatch):
    monkeypatch.chdir(ROOT)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def paths_in(text: str) -> Iterator[str]:
    """The parts of a text in the type of code that look like paths of this repository."""
    for match in IN_CODE.finditer(text):
        path = PATH.fullmatch(match[1])
        if path and path["folder"] in FOLDERS:
            yield match[1]


def run_together(text: str) -> Iterator[str]:
    """The first line of each list or table that needs an empty line before it, to be one in the site."""
    in_fence, first = False, ""  # first: the line that begins the block
    for line in text.splitlines():
        if FENCE.match(line):
            in_fence, first = not in_fence, line
        elif in_fence:
            continue
        elif ENDS_A_BLOCK.match(line):
            first = ""
        elif not first:
            first = line
        elif any(kind.match(line) and not kind.match(first) for kind in (LIST_ITEM, TABLE_ROW)):
            yield line
            first = line


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_a_list_or_table_begins_after_an_empty_line(page):
    assert list(run_together(text_of(page))) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Fruit:\n- apples\n- pears\n", ["- apples"]),
        ("Fruit:\n| a | b |\n|---|---|\n", ["| a | b |"]),
        ("```\ncode\n```\n1. apples\n", ["1. apples"]),
        ("Fruit:\n\n- apples\n  and more\n  - green\n- pears\n\n| a |\n|---|\n", []),
        ("## Fruit\n| a |\n|---|\n", []),
        ("```\nFruit:\n- apples\n```\n", []),
    ],
)
def test_lists_and_tables_that_are_run_together_are_found(text, lines):
    assert list(run_together(text)) == lines


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page):
    missing = [
        target
        for target in targets(text_of(page))
        if not leads_to(target, page).startswith(GENERATED) and not (ROOT / leads_to(target, page)).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_code_exists(page):
    missing = [path for path in paths_in(text_of(page)) if not any(ROOT.glob(path.rstrip("/")))]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_is_run_exists(page):
    missing = [
        module
        for module in MODULE.findall(text_of(page))
        for path in [ROOT / module.replace(".", "/")]
        if module.partition(".")[0] in FOLDERS
        if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_exists(page):
    fields = WorkerSettings.model_fields.keys() | ServerSettings.model_fields.keys()
    known = {settings.variable(field) for field in fields} | OTHER_VARIABLES
    named = re.findall(r"SMALTI_[A-Z_]*[A-Z]\b(?!_?\*)", text_of(page))
    assert set(named) - known == set()


@pytest.mark.parametrize("page", [*PAGES, "deploy/alerts.yml", "deploy/grafana/smalti.json"])
def test_every_metric_exists(page):
    known = {metrics.name(metric) for metric in metrics.declared()}
    named = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in re.findall(r"(?<![\w/.-])smalti_[a-z_]+[a-z]", text_of(page))
    }
    assert named - known == set()


@pytest.mark.parametrize("folder", ["decisions", "experiments"])
def test_an_index_has_a_line_for_each_page(folder):
    pages = sorted(page.name for page in (ROOT / "docs" / folder).glob("[0-9]*.md"))
    lines = [line for line in text_of(f"docs/{folder}/README.md").splitlines() if line.startswith("| [")]
    assert [next(targets(line)) for line in lines] == pages


def test_links_out_of_the_documents_become_paths_in_the_site():
    text, broken = relinked("[the errors](../../smalti/errors.py)", "decisions/x.md")
    assert (text, broken) == ("the errors (`smalti/errors.py`)", [])


def test_links_to_top_files_lead_to_their_pages_in_the_site():
    assert relinked("[map](../ARCHITECTURE.md#layers)", "index.md") == ("[map](architecture.md#layers)", [])
    assert relinked("[words](docs/glossary.md)", "architecture.md") == ("[words](glossary.md)", [])


def test_a_link_that_leads_nowhere_is_named():
    assert relinked("[gone](../smalti/gone.py)", "index.md")[1] == ["../smalti/gone.py"]


def test_the_client_page_has_every_public_name():
    page = client.page()
    assert [
        name
        for name in smalti_client.__all__
        if not re.search(rf"^::: smalti\.[a-z_.]+\.{name}$", page, re.MULTILINE)
    ] == []


def test_the_client_page_says_what_the_names_of_defaults_and_members_mean():
    page = client.page()
    assert "| `TIMEOUT_SECONDS` | `60.0` |" in page
    assert "| `LOG_LIKELIHOOD` | nats, exact (PixelRNN) |" in page
    assert "`QUEUED`, `RUNNING`" in page


def test_the_settings_page_has_every_setting():
    fields = WorkerSettings.model_fields.keys() | ServerSettings.model_fields.keys()
    page = settings.page()
    assert [field for field in fields if f"| `{settings.variable(field)}` |" not in page] == []


def test_the_settings_page_tells_what_a_setting_means_and_takes():
    [line] = [line for line in settings.page().splitlines() if line.startswith("| `SMALTI_THREADS`")]
    assert "| `1` | a whole number from 1 to 1024 | onnxruntime's threads" in line


def test_the_settings_page_says_what_each_setting_means():
    lines = [line for line in settings.page().splitlines() if line.startswith("| `SMALTI_")]
    assert [line for line in lines if line.endswith("|  |")] == []


def test_the_metrics_page_has_kind_and_labels():
    assert "| `smalti_jobs_submitted_total` | counter | `model` |" in metrics.page()


def test_the_errors_page_has_every_error_with_its_status_reason_and_exit_code():
    page = errors.page()
    kinds = [
        name
        for name, value in vars(smalti_errors).items()
        if isinstance(value, type) and issubclass(value, smalti_errors.SmaltiError)
    ]
    assert [kind for kind in kinds if f"| `{kind}` |" not in page] == []
    assert "| `NOT_FOUND` | `JOB_NOT_FOUND` | 3 |" in page


def test_the_command_page_has_every_command():
    page = command.page()
    assert [name for name in main.commands if f"\n## smalti {name}\n" not in page] == []


def test_the_protocol_page_has_every_service_and_message_with_its_comments():
    page = protocol.page()
    files = [module.DESCRIPTOR for module in (images_pb2, jobs_pb2, models_pb2, types_pb2)]
    messages = [name for file in files for name in file.message_types_by_name]
    services = [name for file in files for name in file.services_by_name]
    assert [name for name in messages if f"\n### {name}\n" not in page] == []
    assert [name for name in services if f"\n## {name}\n" not in page] == []
    assert "| `count` | `uint64` | 3 | 0 means 1 |" in page


def test_the_protocol_page_describes_every_rpc():
    lines = [
        line
        for line in protocol.page().splitlines()
        if re.match(r"\| `\w+` \| [^|]*\[\w+Request\][^|]*\| [^|]*\[", line)  # both ends are messages
    ]
    methods = [
        method
        for module in (admin_pb2, images_pb2, jobs_pb2, models_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]
    assert len(lines) == len(methods)
    assert [line for line in lines if line.endswith("|  |")] == []
