"""/metrics behind a token."""

from http.client import HTTPConnection
from pathlib import Path

import pytest

from smalti.errors import SettingsInvalid
from smalti.runtime.metrics import MetricsServer


def status(server: MetricsServer, authorization: str | None) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(
        "GET", "/metrics", headers={} if authorization is None else {"Authorization": authorization}
    )
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_metrics_with_a_token_are_shown_to_those_who_have_it(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("a-secret-word\n")
    server = MetricsServer("127.0.0.1", 0, token_file=file)
    try:
        for wrong in (None, "", "a-secret-word", "Bearer", "Bearer ", "Bearer x", "Basic a-secret-word"):
            code, text = status(server, wrong)
            assert (code, "smalti_" in text, "a-secret-word" in text) == (401, False, False)
        for right in ("Bearer a-secret-word", "bearer a-secret-word"):
            code, text = status(server, right)
            assert (code, "smalti_slots" in text) == (200, True)
        file.write_text("another-word\n")
        assert status(server, "Bearer a-secret-word")[0] == 401
        assert status(server, "Bearer another-word")[0] == 200
        file.unlink()
        assert status(server, "Bearer another-word")[0] == 200
    finally:
        server.close()


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff"])
def test_a_token_that_cannot_be_sent_is_refused_at_the_start(tmp_path: Path, content: bytes):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"^SMALTI_METRICS_TOKEN_FILE: .*one word"):
        MetricsServer("127.0.0.1", 0, token_file=file)
    with pytest.raises(SettingsInvalid, match=r"missing cannot be used: it cannot be read: No such file"):
        MetricsServer("127.0.0.1", 0, token_file=tmp_path / "missing")
