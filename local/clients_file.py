"""Edits the file of tokens: a client's groups and digest change, and everything else stays as somebody wrote it."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from smalti.errors import SettingsInvalid


class ClientsFile:
    """The clients of a file of tokens; of none if there is no file. Raises SettingsInvalid if it is not TOML."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
        except (TOMLKitError, ValueError):
            raise SettingsInvalid(f"{path} is not TOML in UTF-8: mend it, and run this again.") from None
        for name in self._document:
            self.groups(name)

    @property
    def names(self) -> Sequence[str]:
        """The names of the clients."""
        return list(self._document)

    @property
    def text(self) -> str:
        """What the file must hold; raises SettingsInvalid if that is not what was asked for."""
        text = tomlkit.dumps(self._document)
        if tomllib.loads(text) != self._document.unwrap():
            raise SettingsInvalid(
                f"{self._path} cannot be changed: write the tables of a client side by side."
            )
        return text

    def groups(self, name: str) -> Sequence[str]:
        """The groups of a client; raises SettingsInvalid if its table has none."""
        table = self._document[name]
        groups = table.get("groups") if isinstance(table, Mapping) else None
        if not isinstance(groups, list):
            raise SettingsInvalid(f'{self._path}: [{name}] needs groups, such as groups = ["jobs"].')
        return [str(group) for group in groups]

    def set(self, name: str, **values: Any) -> None:
        """Set `groups` or `sha256` of a client, which may be new."""
        if name not in self._document:
            if self._document.body:
                self._document.add(tomlkit.nl())
            self._document[name] = tomlkit.table()
        for key, value in values.items():
            self._document[name][key] = value
