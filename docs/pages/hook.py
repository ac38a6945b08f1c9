"""The hook of MkDocs: adds the generated pages, completes the navigation and corrects links that leave docs/."""

import logging
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.pages import client, command, errors, metrics, protocol, recipes, settings
from docs.pages.links import INCLUDED, relinked

_GENERATED = {
    "reference/client.md": client.page,
    "reference/command.md": command.page,
    "reference/protocol.md": protocol.page,
    "reference/errors.md": errors.page,
    "reference/settings.md": settings.page,
    "reference/metrics.md": metrics.page,
    "reference/recipes.md": recipes.page,
}
_FOLDERS = ("decisions", "experiments")  # their pages are in the navigation in the order of their names
_log = logging.getLogger("mkdocs.hooks.smalti")  # a warning here fails a strict build


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add each page of a folder to its section of the navigation."""
    for section in _sections(config.nav):
        for pages in section.values():
            for folder in _FOLDERS:
                if pages == [f"{folder}/README.md"]:
                    found = sorted(Path(config.docs_dir, folder).glob("[0-9]*.md"))
                    pages.extend(f"{folder}/{page.name}" for page in found)
    return config


def _sections(nav: Any) -> list[dict[str, Any]]:
    inner = [
        item for section in nav for pages in section.values() if isinstance(pages, list) for item in pages
    ]
    return [item for item in inner if isinstance(item, dict)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made from the code, and the files of the top folder that the site shows as pages."""
    for uri, page in _GENERATED.items():
        files.append(File.generated(config, uri, content=page()))
    for name, uri in INCLUDED.items():
        files.append(File.generated(config, uri, content=Path(name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let every link lead to a page of the site, or show the path of a file that the site does not have."""
    text, broken = relinked(markdown, page.file.src_uri)
    for target in broken:
        _log.warning("%s links to %s, which is not there", page.file.src_uri, target)
    return text
