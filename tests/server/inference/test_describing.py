"""ModelConfig: what clients read of a model beside its metadata."""

from tests.server.inference.conftest import refusal


async def config(client, name):
    return (await client.get_model_config(name, as_json=True))["config"]


async def test_a_configuration_leaves_the_batch_out_of_the_shapes(client):
    found = await config(client, "toy-vae.encode")
    assert found["max_batch_size"] == 64
    assert found["input"] == [{"name": "pixels", "data_type": "TYPE_INT64", "dims": ["4", "5"]}]
    assert [(each["name"], each["dims"]) for each in found["output"]] == [
        ("mean", ["3"]),
        ("log_deviation", ["3"]),
    ]


async def test_a_configuration_says_what_runs_the_model(client):
    found = await config(client, "toy-vae.encode")
    assert (found["name"], found["platform"], found["backend"]) == (
        "toy-vae.encode",
        "onnxruntime_onnx",
        "onnxruntime",
    )
    assert found["default_model_filename"] == "encode.onnx"
    assert found["version_policy"] == {"all": {}}
    assert found["instance_group"] == [{"name": "toy-vae.encode", "count": 1}]


async def test_a_configuration_says_how_requests_share_runs(client):
    found = await config(client, "toy-vae.encode")
    assert found["dynamic_batching"]["max_queue_delay_microseconds"] == "2000"
    assert found["dynamic_batching"]["default_queue_policy"] == {
        "max_queue_size": 1024,
        "allow_timeout_override": True,
    }


async def test_a_drawing_is_decoupled_has_no_batch_and_only_optional_inputs(client):
    found = await config(client, "toy-pixel-rnn.draw")
    assert found["model_transaction_policy"] == {"decoupled": True}
    assert "max_batch_size" not in found
    assert "dynamic_batching" not in found
    assert all(each["optional"] for each in found["input"])


async def test_a_model_that_answers_at_once_is_not_decoupled(client):
    assert (await config(client, "toy-vae.encode"))["model_transaction_policy"] == {}


async def test_an_unknown_model_has_no_configuration(client):
    assert (await refusal(client.get_model_config("toy-vae.paint")))[0] == "NOT_FOUND"
