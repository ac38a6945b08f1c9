"""`python -m training recipes`: lists the recipes that come with smalti, or prints one to edit."""

import json
from typing import Any

from pydantic_core import PydanticUndefined

from training import recipe as recipes
from training import settings


def lines() -> list[str]:
    """One line for each recipe: its name and the first sentence of its comment."""
    names = recipes.names()
    return [f"{name:<{max(map(len, names))}}  {_about(name)}" for name in names]


def printed(name: str) -> str:
    """A recipe's text, followed by all other settings with their defaults, as comments; raises RecipeRefused."""
    file = recipes.find(name, digits=False)
    recipe = recipes.read(file)
    more = [
        f"# [{section or 'the top'}] may also have: {', '.join(rest)}"
        for section, kind in settings.kinds(recipe).items()
        if (rest := _rest(kind, recipe if not section else getattr(recipe, section)))
    ]
    return "\n".join([file.read_text(encoding="utf-8").rstrip(), "", *more, ""])


def _rest(kind: Any, table: Any) -> list[str]:
    """The keys that the table does not set, with their defaults."""
    known = set(table) if isinstance(table, dict) else table.model_fields_set
    return [
        f"{field.alias or name} = {_toml(field.default)}"
        for name, field in kind.model_fields.items()
        if (field.alias or name) not in known and _plain(field.default)
    ]


def _plain(value: Any) -> bool:
    return value is not PydanticUndefined and isinstance(value, str | int | float | tuple)


def _toml(value: Any) -> str:
    return json.dumps(value)


def _about(name: str) -> str:
    text = (recipes.RECIPES / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    comment = []
    for line in text:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment).split(". ")[0].rstrip(".")
