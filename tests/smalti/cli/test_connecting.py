"""Every command opens its client in one place, which adds credentials and metadata."""

import pytest
from click.testing import CliRunner

from smalti.cli.main import main
from smalti.client import Client
from smalti.v1 import models_pb2

COMMANDS = {
    "draw": ["toy", "-o", "x.png"],
    "submit": ["toy"],
    "watch": ["7"],
    "wait": ["7"],
    "results": ["7", "-o", "x.png"],
    "pause": ["7"],
    "resume": ["7"],
    "webhook-key": [],
    "cancel": ["7"],
    "delete": ["7"],
    "jobs": [],
    "models": [],
    "load": ["toy"],
    "unload": ["toy"],
    "complete": ["toy", "x.png", "-o", "x.png"],
    "sweep": ["toy", "-o", "x.png"],
    "encode": ["toy", "x.png"],
    "reconstruct": ["toy", "x.png", "-o", "x.png"],
    "interpolate": ["toy", "x.png", "x.png", "-o", "x.png"],
    "score": ["toy", "x.png"],
    "admin": ["weights"],
}


def test_the_test_below_covers_every_command():
    assert COMMANDS.keys() == main.commands.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_request_of_a_command_has_the_metadata_of_its_client(
    server, refusal, tmp_path, monkeypatch, command
):
    def refuse(request):
        raise refusal("NOT_FOUND", "MODEL_NOT_FOUND", "There is none.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "smalti.cli.connecting.open_client",
        lambda address, **_: Client(address, metadata=[("x-team", "art")]),
    )
    server.answers = dict.fromkeys(
        (
            "ImageService/Draw",
            "ImageService/Sweep",
            "JobService/Submit",
            "JobService/Get",
            "JobService/Results",
            "JobService/Pause",
            "JobService/Resume",
            "JobService/GetWebhookKey",
            "JobService/Cancel",
            "JobService/Delete",
            "JobService/List",
            "ModelService/Get",
            "ModelService/List",
            "ModelService/Load",
            "ModelService/Unload",
            "AdminService/ListWeights",
        ),
        refuse,
    )
    result = CliRunner().invoke(main, [command, *COMMANDS[command]], env={"SMALTI_SERVER": server.address})
    assert (result.exit_code, result.stderr) == (3, "Error: There is none.\n")
    assert server.metadata
    assert all(sent["x-team"] == "art" for _, sent in server.metadata)


def test_a_command_sends_the_token_of_its_file_or_of_the_environment(server, refusal, tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text("from-the-file\n")
    token_file.chmod(0o600)
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse()
    address = {"SMALTI_SERVER": server.address}
    for arguments, variables, sent in (
        (["--token-file", str(token_file)], {}, "Bearer from-the-file"),
        ([], {"SMALTI_TOKEN_FILE": str(token_file)}, "Bearer from-the-file"),
        ([], {"SMALTI_TOKEN": "from-the-environment"}, "Bearer from-the-environment"),
        (["--token-file", str(token_file)], {"SMALTI_TOKEN": "other"}, "Bearer from-the-file"),
        ([], {"SMALTI_TOKEN": ""}, None),
    ):
        server.metadata.clear()
        result = CliRunner().invoke(main, ["models", *arguments], env=address | variables)
        assert (result.exit_code, result.stderr) == (0, "")
        assert {each.get("authorization") for _, each in server.metadata} == {sent}


def test_a_command_warns_of_a_token_that_others_may_read_and_refuses_to_send_one_in_plain_text(tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text("a-secret-word\n")
    token_file.chmod(0o644)
    arguments = ["models", "--server", "192.0.2.1:1", "--token-file", str(token_file)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert f"Warning: others may read {token_file}" in result.stderr
    assert "would travel to 192.0.2.1:1 in plain text" in result.stderr
    assert "a-secret-word" not in result.output


def test_a_command_names_the_option_whose_file_is_missing(tmp_path):
    result = CliRunner().invoke(main, ["models", "--ca", str(tmp_path / "missing.pem")])
    assert result.exit_code == 2
    assert "missing.pem', which cannot be read: No such file" in result.stderr
