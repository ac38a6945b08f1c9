"""Every command opens its client in one place, which adds credentials and metadata."""

import pytest
from click.testing import CliRunner

from smalti.cli.main import main
from smalti.client import Client

COMMANDS = {
    "draw": ["toy", "-o", "x.png"],
    "submit": ["toy"],
    "watch": ["7"],
    "results": ["7", "-o", "x.png"],
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
        "smalti.cli.connecting.open_client", lambda address: Client(address, metadata=[("x-team", "art")])
    )
    server.answers = dict.fromkeys(
        (
            "ImageService/Draw",
            "ImageService/Sweep",
            "JobService/Submit",
            "JobService/Get",
            "JobService/Results",
            "JobService/Cancel",
            "JobService/Delete",
            "JobService/List",
            "ModelService/Get",
            "ModelService/List",
            "ModelService/Load",
            "ModelService/Unload",
        ),
        refuse,
    )
    result = CliRunner().invoke(main, [command, *COMMANDS[command]], env={"SMALTI_SERVER": server.address})
    assert (result.exit_code, result.stderr) == (3, "Error: There is none.\n")
    assert server.metadata
    assert all(sent["x-team"] == "art" for _, sent in server.metadata)
