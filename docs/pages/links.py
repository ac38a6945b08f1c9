"""Links between Markdown files of this repository, as the site needs them."""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

# Files of the top folder that are pages of the site.
INCLUDED = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_LINK = re.compile(r"(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_OUTSIDE = ("http://", "https://", "mailto:", "#")


def targets(markdown: str) -> Iterator[str]:
    """Where the links of a text lead; links to other sites and within the page are left out."""
    for match in _LINK.finditer(_CODE.sub("", markdown)):
        if not match["target"].startswith(_OUTSIDE):
            yield match["target"]


def leads_to(target: str, source: str) -> str:
    """The file of the repository that a link in the file `source` leads to; both are relative to the top folder."""
    path = target.partition("#")[0]
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))


def relinked(markdown: str, uri: str) -> tuple[str, list[str]]:
    """The text of a page with its links made right for the site, and the links that lead nowhere."""
    source = next((name for name, page in INCLUDED.items() if page == uri), f"docs/{uri}")
    broken: list[str] = []

    def mended(match: re.Match[str]) -> str:
        target = match["target"]
        if target.startswith(_OUTSIDE) or _is_generated(target, source):
            return match[0]
        path = leads_to(target, source)
        if not Path(path).exists():
            broken.append(target)
            return match[0]
        page = _page(path)
        if page is None:
            return match["words"] if path in match["words"] else f"{match['words']} (`{path}`)"
        anchor = target[target.index("#") :] if "#" in target else ""
        place = os.path.relpath(page, posixpath.dirname(uri) or ".")
        return f"{match['picture']}[{match['words']}]({place}{anchor})"

    return _LINK.sub(mended, markdown), broken


def _is_generated(target: str, source: str) -> bool:
    """Whether MkDocs knows the page and the repository does not; MkDocs checks these links itself."""
    return leads_to(target, source).startswith("docs/reference/")


def _page(path: str) -> str | None:
    """The page or picture of the site that a file of the repository becomes."""
    if path in INCLUDED:
        return INCLUDED[path]
    if not path.startswith("docs/"):
        return None
    inside = path.removeprefix("docs/")
    return f"{inside}/README.md" if Path(path).is_dir() else inside
