"""The recipes of training, as their files in training/recipes/ are."""

from pathlib import Path

_PAGE = """# Recipes

`python -m training NAME` trains by one of these; `python -m training recipes NAME` prints it, to be edited.
[Training](../training.md) tells how to go on from there.

"""
_FOLDER = Path("training/recipes")


def page() -> str:
    """Every recipe under its name."""
    return _PAGE + "\n\n".join(_section(recipe) for recipe in sorted(_FOLDER.glob("*.toml"))) + "\n"


def _section(recipe: Path) -> str:
    return f"## {recipe.stem}\n\n```toml\n{recipe.read_text(encoding='utf-8').strip()}\n```"
