"""Reads the secret from which the keys of webhooks are made."""

from pathlib import Path

from server.webhooks.targets import Targets
from smalti.errors import SettingsInvalid, Unsupported
from smalti.runtime.rereading import Reread, unfit, warn_of_readers
from smalti.webhooks import key_of_client

VARIABLE = "SMALTI_WEBHOOK_SECRET_FILE"
_SHORTEST = 32  # characters


class Secret:
    """The secret in a file, which is read again when it changes. Raises SettingsInvalid if it cannot be used."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else Reread([path], lambda: _read(path))

    def key_of(self, client: str) -> bytes:
        """The key of a client; raises Unsupported if there is no secret."""
        if self._file is None:
            raise Unsupported(f"This server sends no webhooks ({VARIABLE}).")
        self._file.look()
        return key_of_client(self._file.value, client)


def _read(path: Path) -> bytes:
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise unfit(VARIABLE, path, reason) from None
    if len(secret) < _SHORTEST:
        raise unfit(VARIABLE, path, f"a secret has at least {_SHORTEST} characters")
    warn_of_readers(path)
    return secret.encode()


def require_secret(targets: Targets, path: Path | None) -> None:
    """Raise SettingsInvalid if there are targets, but no secret."""
    if targets and path is None:
        raise SettingsInvalid(
            f"SMALTI_WEBHOOK_TARGETS is set: set {VARIABLE}, too, so that webhooks are signed."
        )
