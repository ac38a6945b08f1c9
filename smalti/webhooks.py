"""Webhooks: signs them, and checks their signatures, in the form of Standard Webhooks (standardwebhooks.com).

from smalti.webhooks import verified
event = verified(body, headers, key)  # body: the bytes as they came; key: what `smalti webhook-key` prints
print(event["data"]["job"], event["data"]["state"])
"""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from smalti.errors import InvalidRequest, WebhookForged

_KEY = "whsec_"
_VERSION = "v1,"
TOLERANCE_SECONDS = 300.0


def sign(key: bytes, *, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header webhook-signature; `timestamp` is in seconds since 1970."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return _VERSION + base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()


def key_of_client(secret: bytes, client: str) -> bytes:
    """A client's own key, made from the server's secret: no client can sign for another."""
    return hmac.new(secret, b"webhooks of " + client.encode(), sha256).digest()


def write_key(key: bytes) -> str:
    """The key as text."""
    return _KEY + base64.b64encode(key).decode()


def read_key(text: str) -> bytes:
    """The key that `write_key` wrote; raises InvalidRequest."""
    try:
        return base64.b64decode(text.strip().removeprefix(_KEY), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("This is no key for webhooks: it is whsec_ and Base64.", field="key") from error


def verified(
    body: bytes,
    headers: Mapping[str, str],
    key: str,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """The event in a webhook. The same event may come again, with the same header webhook-id.

    Raises WebhookForged unless it was signed with the key at most `tolerance_seconds` ago.
    """
    found = {name.lower(): value for name, value in headers.items()}
    message_id, sent = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    if not sent.isascii() or not sent.isdigit() or abs(clock() - int(sent[:15])) > tolerance_seconds:
        raise WebhookForged("The webhook has no time near now: it may be an old one, sent again.")
    expected = sign(read_key(key), message_id=message_id, timestamp=int(sent), body=body)
    given = found.get("webhook-signature", "").encode().split()
    if not any(hmac.compare_digest(each, expected.encode()) for each in given):
        raise WebhookForged("The webhook was not signed with this key.")
    event: dict[str, Any] = json.loads(body)
    return event
