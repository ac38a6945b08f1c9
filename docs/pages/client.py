"""The reference of the Python client; mkdocstrings fills it from the docstrings."""

import importlib
import pkgutil

_PAGE = """# Python client

`Client` is for ordinary code, `AsyncClient` for asyncio; their methods have the same names and arguments. Images go in
as smalti or Pillow images, paths or bytes of picture files, or arrays. Every method raises the
[errors of smalti](errors.md) and no other.

```python
from smalti.client import Client

with Client("localhost:50051") as client:
    client.draw("sprites-vae", count=16, seed=7).images[0].save("first.png")
```

"""
_CLIENTS = ("smalti.client.client.Client", "smalti.client.async_client.AsyncClient")
_VALUES = "smalti.client.values"
_WITHOUT_HEADING = """    options:
      heading_level: 2
      show_root_heading: false
      show_root_toc_entry: false
"""


def page() -> str:
    """Both clients, then the values that they give and take."""
    clients = "\n\n".join(f"::: {name}" for name in _CLIENTS)
    values = "\n\n".join(f"::: {name}\n{_WITHOUT_HEADING}" for name in _modules(_VALUES))
    return f"{_PAGE}{clients}\n\n## Values\n\n{values}\n"


def _modules(name: str) -> list[str]:
    """A module, or the modules of a package."""
    module = importlib.import_module(name)
    inside = pkgutil.iter_modules(getattr(module, "__path__", []))
    return [f"{name}.{each.name}" for each in inside] or [name]
