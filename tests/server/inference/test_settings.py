"""TraceSetting and LogSettings: stored, checked, cleared, asked by Triton's own client."""

import grpc
import pytest

from tests.server.inference.conftest import refusal

TRACE = {
    "trace_file": [""],
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_mode": ["triton"],
}
LOG = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


def trace_of(answer):
    return {name: list(setting.value) for name, setting in answer.settings.items()}


def log_of(answer):
    return {
        name: getattr(setting, setting.WhichOneof("parameter_choice"))
        for name, setting in answer.settings.items()
    }


async def test_trace_settings_begin_as_in_triton(client):
    assert trace_of(await client.get_trace_settings()) == TRACE
    assert trace_of(await client.get_trace_settings("toy-vae.decode")) == TRACE


async def test_a_model_follows_the_settings_for_all_until_it_has_its_own(client):
    await client.update_trace_settings("toy-vae.decode", {"trace_rate": "5"})
    await client.update_trace_settings(settings={"trace_rate": "7", "trace_level": ["TENSORS", "TIMESTAMPS"]})
    levels = {"trace_level": ["TIMESTAMPS", "TENSORS"]}
    assert trace_of(await client.get_trace_settings()) == TRACE | levels | {"trace_rate": ["7"]}
    assert trace_of(await client.get_trace_settings("toy-vae.decode")) == TRACE | levels | {
        "trace_rate": ["5"]
    }
    assert trace_of(await client.get_trace_settings("toy-vae.encode")) == TRACE | levels | {
        "trace_rate": ["7"]
    }
    cleared = await client.update_trace_settings("toy-vae.decode", {"trace_rate": None})
    assert trace_of(cleared)["trace_rate"] == ["7"]
    cleared = await client.update_trace_settings(settings={"trace_rate": None, "trace_level": None})
    assert trace_of(cleared) == TRACE


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"trace_file": "x.json"}, "UNIMPLEMENTED", "trace file location can not be updated"),
        ({"trace_mode": "opentelemetry"}, "UNIMPLEMENTED", "'trace_mode' cannot be changed"),
        ({"colour": "red"}, "INVALID_ARGUMENT", "There is no trace setting 'colour'"),
        ({"trace_level": ["OFF", "TENSORS"]}, "INVALID_ARGUMENT", "only one trace level 'OFF'"),
        ({"trace_level": ["MAX"]}, "INVALID_ARGUMENT", "There is no trace level 'MAX'"),
        ({"trace_rate": ["1", "2"]}, "INVALID_ARGUMENT", "expect only 1 value for 'trace_rate'"),
        ({"trace_rate": "often"}, "INVALID_ARGUMENT", "Unable to parse 'trace_rate', got: often"),
        ({"trace_rate": "9" * 5000}, "INVALID_ARGUMENT", "value is out of range"),
        ({"trace_count": "-2"}, "INVALID_ARGUMENT", "value is out of range [ -1, 2147483647 ], got: -2"),
        ({"log_frequency": "-1"}, "INVALID_ARGUMENT", "'log_frequency', value is out of range"),
    ],
)
async def test_a_wrong_trace_setting_is_refused_and_the_others_beside_it_are_not_set(
    client, settings, code, said
):
    refused = await refusal(client.update_trace_settings(settings={"log_frequency": "3", **settings}))
    assert (refused[0], said in refused[1]) == (code, True), refused
    assert trace_of(await client.get_trace_settings()) == TRACE


async def test_a_model_that_is_not_there_has_no_trace_settings(client):
    unknown = ("NOT_FOUND", "Request for unknown model: 'toy-cat.decode' is not found.")
    assert await refusal(client.get_trace_settings("toy-cat.decode")) == unknown
    assert await refusal(client.update_trace_settings("toy-cat.decode", {"trace_rate": "1"})) == unknown


async def test_log_settings_begin_as_in_triton_are_set_and_cleared(client):
    assert log_of(await client.get_log_settings()) == LOG
    news = {"log_info": False, "log_verbose_level": 3, "log_format": "ISO8601"}
    assert log_of(await client.update_log_settings(news)) == LOG | news
    assert log_of(await client.get_log_settings()) == LOG | news
    assert log_of(await client.update_log_settings(dict.fromkeys(news))) == LOG


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"log_file": "x.log"}, "UNIMPLEMENTED", "log file location can not be updated"),
        ({"colour": True}, "INVALID_ARGUMENT", "There is no log setting 'colour'"),
        ({"log_format": "fancy"}, "INVALID_ARGUMENT", "invalid argument for log_format, got: fancy"),
    ],
)
async def test_a_wrong_log_setting_is_refused_and_the_others_beside_it_are_not_set(
    client, settings, code, said
):
    refused = await refusal(client.update_log_settings({"log_info": False, **settings}))
    assert (refused[0], said in refused[1]) == (code, True), refused
    assert log_of(await client.get_log_settings()) == LOG


@pytest.mark.parametrize(
    ("name", "kind"),
    [("log_info", "boolean"), ("log_verbose_level", "int32"), ("log_format", "string")],
)
async def test_a_log_setting_of_another_type_is_refused(rpc, name, kind):
    given = {"bool_param": True} if kind == "string" else {"string_param": "x"}
    with pytest.raises(grpc.aio.AioRpcError, match=f"expect {kind} for '{name}'"):
        await rpc("LogSettings", settings={name: given})
