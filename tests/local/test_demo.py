import pytest
from PIL import Image as pillow
from rich.console import Console

from local.demo import choose, is_stream, latency_table, write_sheet
from local.latencies import Latency
from smalti.client import Image, Model
from smalti.errors import ModelNotFound


def a_model(name, version=1):
    return Model(
        name=name,
        version=version,
        family="",
        variant="",
        height=1,
        width=1,
        palette=(),
        graphs=(),
        latent_size=0,
        digest="",
        licence="",
    )


def test_sprites_are_preferred_to_digits_and_new_versions_to_old():
    served = [
        a_model("sprites-pixel-rnn", 2),
        a_model("sprites-pixel-rnn", 1),
        a_model("digits-pixel-rnn"),
        a_model("sprites-gan"),
        a_model("digits-vae"),
    ]
    chosen = choose(served)
    assert {family: (model.name, model.version) for family, model in chosen.items()} == {
        "pixel_rnn": ("sprites-pixel-rnn", 2),
        "vae": ("digits-vae", 1),
        "gan": ("sprites-gan", 1),
    }


def test_the_demo_shows_the_default_models_and_not_the_lectures():
    names = (
        "sprites-pixel-rnn-lecture",
        "sprites-pixel-rnn",
        "sprites-gan-lecture",
        "sprites-gan",
        "sprites-vae",
    )
    chosen = choose([a_model(name) for name in names])
    assert (chosen["pixel_rnn"].name, chosen["gan"].name) == ("sprites-pixel-rnn", "sprites-gan")


def test_a_missing_family_is_named():
    with pytest.raises(ModelNotFound, match="sprites-vae, digits-vae"):
        choose([a_model("sprites-pixel-rnn"), a_model("sprites-gan")])


def test_the_sheet_has_the_images_of_each_model(tmp_path):
    image = Image(height=2, width=2, indices=bytes(4), palette=("#ff0000", "#ffffff"))
    write_sheet(tmp_path / "out" / "demo.png", {"one": [image] * 12, "two": [image] * 24})
    with pillow.open(tmp_path / "out" / "demo.png") as sheet:
        reds = sheet.convert("RGB").tobytes().count(b"\xff\x00\x00")
        assert reds >= 36 * 4 * 16
        assert sheet.width == (12 * 3 + 1) * 4


def test_latencies_are_shown_in_milliseconds():
    labels = (("code", "OK"), ("method", "Draw"), ("service", "smalti.v1.ImageService"))
    latency = Latency(metric="smalti_rpc_seconds", labels=labels, buckets=((0.002, 4), (float("inf"), 4)))
    console = Console(width=100)
    with console.capture() as capture:
        console.print(latency_table([latency]))
    assert "ImageService/Draw      4  1.00  1.90  1.98" in capture.get()


@pytest.mark.parametrize(
    ("metric", "labels", "expected"),
    [
        ("smalti_rpc_seconds", {"method": "Watch", "service": "smalti.v1.JobService"}, True),
        ("smalti_rpc_seconds", {"method": "DrawStream", "service": "smalti.v1.ImageService"}, True),
        ("smalti_rpc_seconds", {"method": "Draw", "service": "smalti.v1.ImageService"}, False),
        ("smalti_rpc_seconds", {"method": "List", "service": "smalti.v1.ModelService"}, False),
        ("smalti_job_seconds", {"model": "toy"}, False),
    ],
)
def test_rpcs_that_stream_are_left_out_of_the_latencies(metric, labels, expected):
    latency = Latency(metric=metric, labels=tuple(labels.items()), buckets=())
    assert is_stream(latency) is expected
