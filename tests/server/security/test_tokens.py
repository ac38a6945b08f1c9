"""The file of tokens: what it takes, and that it is read again when it changes."""

import traceback
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from server.caller import Caller
from server.security import tokens as module
from server.security.tokens import Tokens
from smalti.errors import SettingsInvalid
from smalti.jobs.limits import ClientLimits
from tests.server.security.conftest import TOKENS, open_to_others, write_tokens

DIGEST = sha256(b"some token").hexdigest()


def test_a_token_leads_to_its_client_and_another_to_none(tokens_file: Path):
    tokens = Tokens(tokens_file)
    assert tokens.client_of(TOKENS["ada"]) == Caller(name="ada", groups=frozenset({"inference"}))
    for wrong in ("", "x", TOKENS["ada"][:-1], TOKENS["ada"] + " ", DIGEST, "\udcff", "ü"):
        assert tokens.client_of(wrong) is None


def test_a_client_may_have_several_tokens_so_that_they_can_be_renewed(tmp_path: Path):
    old, new = (sha256(token).hexdigest() for token in (b"old", b"new"))
    file = tmp_path / "tokens.toml"
    file.write_text(f'[ada]\ngroups = ["jobs"]\nsha256 = ["{old}", "{new}"]\n')
    tokens = Tokens(file)
    assert tokens.client_of("old") == tokens.client_of("new") != None  # noqa: E711


def test_a_client_may_have_limits_of_its_own(tmp_path: Path):
    file = tmp_path / "tokens.toml"
    file.write_text(
        f'[ada]\ngroups = ["jobs"]\nsha256 = "{DIGEST}"\n[ada.limits]\njobs = 3\nresult_bytes = 5000\n'
    )
    client = Tokens(file).client_of("some token")
    assert client is not None
    assert client.limits == ClientLimits(jobs=3, result_bytes=5000)


@pytest.mark.parametrize("asked", [*TOKENS.values(), "wrong"])
def test_every_token_is_compared_with_all_entries_in_constant_time(tokens_file: Path, asked: str):
    tokens = Tokens(tokens_file)
    with patch.object(module, "compare_digest", wraps=compare_digest) as compare:
        tokens.client_of(asked)
    assert compare.call_count == len(TOKENS)  # it does not end at the right one


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it names no client"),
        ("ada = 3", r"'ada' must be a table, \[ada\]"),
        (f'[ada]\nsha256 = "{DIGEST}"', "groups of .ada. must be a list of inference, jobs and admin"),
        (f'[ada]\ngroups = []\nsha256 = "{DIGEST}"', "groups of .ada. must be"),
        (f'[ada]\ngroups = ["all"]\nsha256 = "{DIGEST}"', "groups of .ada. must be"),
        (f'[ada]\ngroups = "jobs"\nsha256 = "{DIGEST}"', "groups of .ada. must be"),
        (
            '[ada]\ngroups = ["jobs"]\nsha256 = "a-secret-word"',
            "sha256 of .ada. must be .* 64 hexadecimal digits",
        ),
        ('[ada]\ngroups = ["jobs"]\nsha256 = []', "sha256 of .ada. must be"),
        (
            f'[ada]\ngroups = ["jobs"]\nsha256 = "{DIGEST}"\ntoken = "a-secret-word"',
            "has token, which nothing reads",
        ),
        (f'["a b"]\ngroups = ["jobs"]\nsha256 = "{DIGEST}"', "the name 'a b' must begin"),
        (f'[""]\ngroups = ["jobs"]\nsha256 = "{DIGEST}"', "the name '' must begin"),
        (f'["{"a" * 65}"]\ngroups = ["jobs"]\nsha256 = "{DIGEST}"', "up to 64"),
        (
            "".join(f'[{name}]\ngroups = ["jobs"]\nsha256 = "{DIGEST}"\n' for name in ("ada", "bob")),
            "one SHA-256 twice",
        ),
        *(
            (
                f'[ada]\ngroups = ["jobs"]\nsha256 = "{DIGEST}"\nlimits = {limits}',
                "limits of .ada. must be a table",
            )
            for limits in ("3", "{jobs = 0}", "{jobs = 1.5}", "{rows = 1}")
        ),
        ("[ada", r"it is not TOML in UTF-8 \(at"),
        ("a-secret-word", "it is not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_one_sentence_that_quotes_no_secret(
    tmp_path: Path, text: str, reason: str
):
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    with pytest.raises(
        SettingsInvalid, match=f"^SMALTI_TOKENS_FILE: {file} cannot be used: .*{reason}"
    ) as caught:
        Tokens(file)
    assert "a-secret-word" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[ada]\xff"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes):
    file = tmp_path / "tokens.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsInvalid, match="it is not TOML in UTF-8"):
        Tokens(file)


def test_a_file_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(
        SettingsInvalid, match=r"tokens\.toml cannot be used: it cannot be read: No such file"
    ):
        Tokens(tmp_path / "tokens.toml")


def test_a_changed_file_is_read_again_and_a_broken_one_keeps_the_last_good_one(tokens_file: Path):
    tokens = Tokens(tokens_file)
    write_tokens(tokens_file, {"ada": "another token"})
    tokens.files.look()
    assert tokens.client_of(TOKENS["ada"]) is None
    assert tokens.client_of("another token") is not None
    tokens_file.write_text("[broken")
    with capture_logs() as logs:
        for _ in range(5):
            tokens.files.look()
    assert tokens.client_of("another token") is not None
    assert [(line["log_level"], "SMALTI_TOKENS_FILE" in line["reason"]) for line in logs] == [("error", True)]
    tokens_file.unlink()
    tokens.files.look()
    assert tokens.client_of("another token") is not None
    write_tokens(tokens_file)
    tokens.files.look()
    assert tokens.client_of(TOKENS["ada"]) is not None


def test_a_file_that_others_may_write_causes_a_warning(tokens_file: Path, monkeypatch: pytest.MonkeyPatch):
    open_to_others(monkeypatch)
    tokens_file.chmod(0o666)
    with capture_logs() as logs:
        Tokens(tokens_file)
    assert [(line["log_level"], line["file"]) for line in logs] == [("warning", str(tokens_file))]
    tokens_file.chmod(0o644)
    with capture_logs() as logs:
        Tokens(tokens_file)
    assert not logs


def test_a_folder_that_others_cannot_enter_makes_up_for_the_rights_of_a_file(tmp_path: Path):
    tmp_path.chmod(0o700)
    file = write_tokens(tmp_path / "tokens.toml")
    file.chmod(0o666)
    with capture_logs() as logs:
        Tokens(file)
    assert not logs
