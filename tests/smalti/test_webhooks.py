"""A receiver tells real webhooks from forged and old ones."""

import base64
import hmac
from hashlib import sha256
from typing import Any

import pytest

from smalti.errors import InvalidRequest, WebhookForged
from smalti.webhooks import key_of_client, read_key, sign, verified, write_key

KEY = key_of_client(b"the secret of the server", "anne")
BODY = b'{"type":"job.ended"}'


def headers(**changes: str) -> dict[str, str]:
    signature = sign(KEY, message_id="job", timestamp=1000, body=BODY)
    usual = {"Webhook-Id": "job", "Webhook-Timestamp": "1000", "Webhook-Signature": signature}
    return usual | {name.replace("_", "-"): value for name, value in changes.items()}


def check(found: dict[str, str], body: bytes = BODY, *, now: float = 1100) -> Any:
    return verified(body, found, write_key(KEY), clock=lambda: now)


def test_a_signed_webhook_is_read() -> None:
    assert check(headers()) == {"type": "job.ended"}


def test_the_signature_is_that_of_standard_webhooks() -> None:
    expected = base64.b64encode(hmac.new(KEY, b"job.1000." + BODY, sha256).digest()).decode()
    assert headers()["Webhook-Signature"] == f"v1,{expected}"


def test_one_of_several_signatures_is_enough() -> None:
    assert check(headers(Webhook_Signature=f"v1,AAAA {headers()['Webhook-Signature']} v2,x"))


@pytest.mark.parametrize(
    "changes",
    [
        {"Webhook_Id": "other"},
        {"Webhook_Timestamp": "1001"},
        {"Webhook_Timestamp": ""},
        {"Webhook_Timestamp": "soon"},
        {"Webhook_Timestamp": "-1"},
        {"Webhook_Timestamp": "9" * 5000},
        {"Webhook_Signature": ""},
        {"Webhook_Signature": "v1,AAAA"},
        {"Webhook_Signature": "ä"},
    ],
)
def test_changed_headers_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(WebhookForged):
        check(headers(**changes))


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(WebhookForged):
        check(headers(), BODY + b" ")


@pytest.mark.parametrize("now", [1301, 699])
def test_a_webhook_of_another_time_is_refused(now: float) -> None:
    with pytest.raises(WebhookForged, match="sent again"):
        check(headers(), now=now)


def test_what_is_no_key_is_refused() -> None:
    assert read_key(write_key(KEY) + "\n") == KEY
    with pytest.raises(InvalidRequest):
        read_key("whsec_not base64")
