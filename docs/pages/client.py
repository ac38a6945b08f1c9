"""The reference of the Python client; mkdocstrings fills it from the docstrings."""

from enum import StrEnum

from docs.pages.comments import comments_of
from docs.pages.tables import code, table
from smalti import client, media
from smalti.client import channel
from smalti.client.values import images

_PAGE = """# Python client

`Client` is for ordinary code, `AsyncClient` for asyncio; their methods have the same names and arguments. Images go in
as smalti or Pillow images, paths or bytes of picture files, or arrays. Every method raises the
[errors of smalti](errors.md) and no other.

```python
from smalti import Client

with Client("localhost:50051") as client:
    client.draw("sprites-vae", count=16, seed=7).images[0].save("first.png")
```

Both clients can be imported from `smalti` or from `smalti.client`. The values below are in `smalti.client`.

"""
_CLIENTS = ("smalti.client.client.Client", "smalti.client.async_client.AsyncClient")
_DEFAULTS = (  # constants that signatures name
    (channel, "DEFAULT_ADDRESS"),
    (channel, "TIMEOUT_SECONDS"),
    (channel, "KEEPALIVE_SECONDS"),
    (channel, "MAX_ANSWER_BYTES"),
    (images, "NO_CHANGE"),
    (media, "SHEET_SCALE"),
)
_TYPES = {  # the types that have a name of their own, and what may be given or comes
    "smalti.client.values.images.ImageSource": (
        "One image: an image of smalti or Pillow, the path of a picture file or its bytes, or an array of uint8 with "
        "the shape (height, width) or (height, width, 3 or 4)."
    ),
    "smalti.client.values.images.ImageSources": "One image, several of them, or an array of several images.",
    "smalti.client.values.images.Latent": "The latent of one image: a number for each dimension.",
    "smalti.client.values.jobs.JobOrId": "A job, or its id.",
    "smalti.client.values.images.DrawEvent": "What `draw_stream` yields.",
    "smalti.client.values.jobs.JobEvent": "What `watch` yields.",
    "smalti.client.channel.Metadata": "A dict of names and texts, or pairs of a name and a text.",
}


def page() -> str:
    """Both clients, then the values that they give and take, then the types with a name of their own."""
    parts = [
        _PAGE,
        *(f"::: {name}" for name in _CLIENTS),
        "## Defaults\n\nSignatures name these values:",
        table(("name", "value"), ((code(name), code(getattr(module, name))) for module, name in _DEFAULTS)),
        "## Values",
        *(_value(kind) for kind in _values()),
        "## Types",
        *(f"{_entry(name, show_all=True)}\n\n{text}" for name, text in _TYPES.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _values() -> list[type]:
    """The public classes of the client without the clients themselves, in alphabetical order."""
    public = [getattr(client, name) for name in sorted(client.__all__)]
    return [kind for kind in public if isinstance(kind, type) and not kind.__name__.endswith("Client")]


def _value(kind: type) -> str:
    """The entry of a class; for an enum, also its members."""
    entry = _entry(f"{kind.__module__}.{kind.__name__}", show_all=False)
    return f"{entry}\n\n{_members(kind)}" if issubclass(kind, StrEnum) else entry


def _members(kind: type[StrEnum]) -> str:
    """A table of the members with their comments; without comments, a line of their names."""
    comments = comments_of(kind)
    if not any(comments.values()):
        return f"One of {', '.join(code(name) for name in kind.__members__)}."
    return table(("member", "means"), ((code(name), comments[name]) for name in kind.__members__))


def _entry(name: str, *, show_all: bool) -> str:
    options = ["heading_level: 3", f"show_if_no_docstring: {str(show_all).lower()}"]
    return "\n".join([f"::: {name}", "    options:", *(f"      {option}" for option in options)])
