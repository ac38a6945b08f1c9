"""The tables of settings, read from smalti/runtime/settings.py: its fields, their defaults and their comments."""

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.pages.comments import comments_of
from docs.pages.tables import code, table
from smalti.runtime import settings
from smalti.runtime.settings import ServerSettings, SharedSettings, WorkerSettings

_PAGE = """# Settings

Server and workers read these variables once, when they start. An empty one counts as not set; a value that cannot be
used ends the process with one sentence. [Operations](../operations.md#settings) says which ones deserve a thought.
The command `smalti` reads `SMALTI_SERVER`, the server that it talks to (`localhost:50051`), and what it needs there:
`SMALTI_TOKEN` or `SMALTI_TOKEN_FILE`, `SMALTI_CA`, `SMALTI_CERT` and `SMALTI_KEY` ([security](../security.md#clients)),
or `SMALTI_CLIENT_NAME` ([sharing](../operations.md#sharing-the-workers)).
"""


def page() -> str:
    """Three tables: what both have in common, the server's, a worker's."""
    shared = set(SharedSettings.model_fields)
    return "\n".join(
        [
            _PAGE,
            *_section("Server and workers", SharedSettings, set()),
            *_section("Server", ServerSettings, shared),
            *_section("Worker", WorkerSettings, shared),
        ]
    )


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"{SharedSettings.model_config['env_prefix']}{field}".upper()


def _section(title: str, kind: type[SharedSettings], known: set[str]) -> list[str]:
    rows = [
        (code(variable(field)), code(_default(info)), _range(kind, field), comments.get(field, ""))
        for comments in [comments_of(kind)]
        for field, info in kind.model_fields.items()
        if field not in known or info.default != SharedSettings.model_fields[field].default
    ]
    return [f"## {title}\n", table(("variable", "default", "takes", "means"), rows), ""]


def _default(info: FieldInfo) -> str:
    if info.default in (PydanticUndefined, None):
        return ""
    return f"{info.default:g}" if isinstance(info.default, float) else str(info.default).lower()


def _range(kind: type[SharedSettings], field: str) -> str:
    """What the field takes, in the words of the sentence that refuses anything else."""
    return settings._wanted(kind, field)
