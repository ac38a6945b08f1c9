"""`smalti admin weights` lists and sets weights; `--client-name` says whose share a command's jobs take."""

import json

import pytest
from click.testing import CliRunner

from smalti.cli.main import main
from smalti.identity import NAME_KEY
from smalti.v1 import admin_pb2 as pb


@pytest.fixture
def smalti(server):
    server.answers |= {
        "AdminService/ListWeights": lambda request: pb.ListWeightsResponse(
            weights=[pb.Weight(client="ada", weight=4), pb.Weight(client="bob", weight=0.5)]
        ),
        "AdminService/SetWeight": lambda request: pb.SetWeightResponse(),
    }

    def run(*arguments, **variables):
        return CliRunner().invoke(main, arguments, env={"SMALTI_SERVER": server.address} | variables)

    return run


def test_weights_are_listed_as_a_table_or_as_json(smalti):
    assert [line.split() for line in smalti("admin", "weights").output.splitlines()] == [
        ["CLIENT", "WEIGHT"],
        ["ada", "4"],
        ["bob", "0.5"],
    ]
    assert json.loads(smalti("admin", "weights", "--json").output) == {"ada": 4.0, "bob": 0.5}


def test_a_weight_is_set_and_said(smalti, server):
    assert smalti("admin", "weights", "ada", "2.5").output == "ada has weight 2.5.\n"
    assert server.requests == [pb.SetWeightRequest(weight=pb.Weight(client="ada", weight=2.5))]


@pytest.mark.parametrize(
    "arguments", [["ada"], ["ada", "0"], ["ada", "101"], ["ada", "nan"], ["ada", "much"]]
)
def test_what_is_no_weight_is_wrong_usage(smalti, server, arguments):
    assert smalti("admin", "weights", *arguments).exit_code == 2
    assert server.requests == []


def test_a_command_sends_the_name_of_the_option_or_of_the_environment(smalti, server):
    smalti("admin", "weights", "--client-name", "ada", SMALTI_CLIENT_NAME="bob")
    smalti("admin", "weights", SMALTI_CLIENT_NAME="bob")
    smalti("admin", "weights")
    assert [sent.get(NAME_KEY) for _, sent in server.metadata] == ["ada", "bob", None]
