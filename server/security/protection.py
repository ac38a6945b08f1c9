"""What protects a server: tokens, TLS, and the warning where one of them is missing."""

import ssl
from typing import Any

from server.security.admission import Admission
from server.security.tokens import Tokens
from smalti.address import Address
from smalti.runtime.certificates import Certificates
from smalti.runtime.rereading import Reread, keep_looking
from smalti.runtime.settings import ServerSettings


class Protection:
    """Made from the settings; raises SettingsInvalid for files that cannot be used."""

    def __init__(self, settings: ServerSettings) -> None:
        self._tokens = Tokens(settings.tokens_file) if settings.tokens_file else None
        self.certificates = Certificates.of(settings)
        self.admission = Admission(self._tokens)

    def encryption(self) -> ssl.SSLContext | None:
        """What encrypts a new connection; None where the server uses plain text."""
        return self.certificates.context() if self.certificates else None

    async def keep_reading(self) -> None:
        """Look for changes of the files until cancelled."""
        sources = (self._tokens, self.certificates)
        files: list[Reread[Any]] = [source.files for source in sources if source is not None]
        await keep_looking(files)

    def missing(self, address: Address) -> str:
        """What a server that listens there lacks, as a sentence for the log; empty if nothing."""
        if address.is_loopback:
            return ""
        if self.certificates is None:
            return (
                "listening beyond this machine without TLS: whoever sees the traffic can read the tokens and use them"
                if self._tokens
                else "listening beyond this machine without TLS or tokens: anyone who reaches the port can use it"
            )
        if self._tokens is None and not self.certificates.asks_clients:
            return "listening beyond this machine without tokens: anyone who reaches the port can use it"
        return ""
