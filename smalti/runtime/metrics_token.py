"""Lets only those read /metrics who show the token of a file."""

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TypeAlias
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from smalti.errors import SettingsInvalid
from smalti.runtime.rereading import Reread, unfit, warn_of_readers

Answer: TypeAlias = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


def guarded(answer: WSGIApplication, token_file: Path) -> Answer:
    """The same answers for requests with `Authorization: Bearer TOKEN`, status 401 for all others.

    The file is read again when it has changed. Raises SettingsInvalid.
    """
    token = Reread([token_file], lambda: _digest(token_file))
    warn_of_readers(token_file)

    def answer_those_with_the_token(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        token.look()
        scheme, _, sent = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer" and compare_digest(_sha256(sent.strip()), token.value):
            return answer(environ, start)
        start("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
        return [b"The metrics need a token: Authorization: Bearer TOKEN.\n"]

    return answer_those_with_the_token


def _digest(token_file: Path) -> bytes:
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise _unfit(token_file, f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        token = ""
    if not re.fullmatch(r"[!-~]+", token):
        raise _unfit(token_file, "it must hold one word of visible ASCII characters")
    return _sha256(token)


def _sha256(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()


def _unfit(path: Path, reason: str) -> SettingsInvalid:
    return unfit("SMALTI_METRICS_TOKEN_FILE", path, reason)
