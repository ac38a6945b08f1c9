import asyncio
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from smalti.randomness import normals
from smalti.runtime.metrics import RPC_SECONDS
from smalti.v1 import images_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.toys import COLOURS, HEIGHT, LATENT, PALETTE, PIXELS, WIDTH, decoded, encoded

VAE = types_pb2.ModelVersion(name="toy-vae")
GAN = types_pb2.ModelVersion(name="toy-gan")
PIXEL_RNN = types_pb2.ModelVersion(name="toy-pixel-rnn")
RAW = types_pb2.IMAGE_FORMAT_PIXELS


def image(shift: int = 0) -> np.ndarray:
    """An image (HEIGHT, WIDTH) of all colours, different for each shift."""
    return (np.arange(PIXELS).reshape(HEIGHT, WIDTH) + shift) % COLOURS


def message(pixels: np.ndarray) -> types_pb2.Image:
    height, width = pixels.shape
    indices = pixels.astype(np.uint8).tobytes()
    return types_pb2.Image(pixels=types_pb2.Pixels(height=height, width=width, indices=indices))


def png(colours: np.ndarray) -> bytes:
    return saved(Pillow.fromarray(colours.astype(np.uint8), "RGB"))


def saved(image: Pillow.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def pixels_of(images) -> np.ndarray:
    found = [np.frombuffer(image.pixels.indices, np.uint8).reshape(HEIGHT, WIDTH) for image in images]
    return np.stack(found).astype(np.int64)


def draw(**given) -> images_pb2.DrawRequest:
    usual: dict[str, Any] = {"model": VAE, "format": RAW}
    return images_pb2.DrawRequest(**usual | given)


@pytest.mark.parametrize("model", [VAE, GAN])
async def test_drawing_decodes_the_normals_of_seed_and_index(server: Running, model):
    reply = await server.images.Draw(draw(model=model, count=3, seed=7, first_index=5))
    latents = np.stack([normals(7, index, LATENT) for index in (5, 6, 7)])
    assert (pixels_of(reply.images) == decoded(latents)).all()
    assert (reply.seed, reply.model.name, reply.model.version) == (7, model.name, 1)


async def test_an_image_depends_only_on_seed_and_index(server: Running):
    together = await server.images.Draw(draw(count=100, seed=3))
    alone = await server.images.Draw(draw(seed=3, first_index=99))
    assert together.images[99] == alone.images[0]


async def test_a_seed_chosen_by_the_server_draws_the_same_images_again(server: Running):
    first = await server.images.Draw(draw(count=2))
    again = await server.images.Draw(draw(count=2, seed=first.seed))
    assert list(again.images) == list(first.images)
    assert (await server.images.Draw(draw())).seed != first.seed


async def test_images_come_as_png_unless_pixels_are_asked_for(server: Running):
    as_pixels = await server.images.Draw(draw(seed=1))
    as_png = await server.images.Draw(draw(seed=1, format=types_pb2.IMAGE_FORMAT_UNSPECIFIED))
    shown = np.asarray(Pillow.open(io.BytesIO(as_png.images[0].png)).convert("RGB"))
    expected = [
        [bytes.fromhex(PALETTE[pixel][1:]) for pixel in row] for row in pixels_of(as_pixels.images)[0]
    ]
    assert [[bytes(pixel) for pixel in row] for row in shown] == expected


async def test_encoding_gives_means_and_deviations(server: Running):
    request = images_pb2.EncodeRequest(model=VAE, images=[message(image()), message(image(1))])
    reply = await server.images.Encode(request)
    expected = encoded(np.stack([image(), image(1)]))
    assert np.allclose([latent.values for latent in reply.means], expected)
    assert [list(latent.values) for latent in reply.log_deviations] == [[0.0] * LATENT] * 2
    assert reply.colour_change == types_pb2.ColourChange()


async def test_colours_outside_the_palette_become_the_nearest_and_are_counted(server: Running):
    colours = np.zeros((HEIGHT, WIDTH, 3))
    colours[0, 0] = (250, 5, 5)  # nearly the palette's red
    colours[0, 1] = (255, 0, 0)
    given = images_pb2.EncodeRequest(model=VAE, images=[types_pb2.Image(png=png(colours))])
    reply = await server.images.Encode(given)
    expected = np.zeros((1, HEIGHT, WIDTH), np.int64)
    expected[0, 0, :2] = 1
    assert np.allclose(reply.means[0].values, encoded(expected)[0])
    assert reply.colour_change.moved_pixels == 1
    assert 0 < reply.colour_change.largest_distance < 10


async def test_decoding_draws_the_given_latents(server: Running):
    latents = np.array([[0.5, -1, 2], [3, 0, 0]], np.float32)
    given = [types_pb2.Latent(values=latent) for latent in latents]
    for model in (VAE, GAN):
        reply = await server.images.Decode(images_pb2.DecodeRequest(model=model, latents=given, format=RAW))
        assert (pixels_of(reply.images) == decoded(latents)).all()


async def test_reconstructing_goes_through_the_mean(server: Running):
    request = images_pb2.ReconstructRequest(model=VAE, images=[message(image())], format=RAW)
    reply = await server.images.Reconstruct(request)
    assert (pixels_of(reply.images) == decoded(encoded(image()[None]))).all()


async def test_interpolating_goes_from_one_mean_to_the_other_in_even_steps(server: Running):
    request = images_pb2.InterpolateRequest(
        model=VAE, first=message(image()), last=message(image(2)), steps=5, format=RAW
    )
    reply = await server.images.Interpolate(request)
    first, last = encoded(image()[None]), encoded(image(2)[None])
    line = np.concatenate([first + (last - first) * step / 4 for step in range(5)]).astype(np.float32)
    assert (pixels_of(reply.images) == decoded(line)).mean() > 0.95  # rounding may change single pixels


async def test_sweeping_varies_two_dimensions_and_keeps_the_others(server: Running):
    request = images_pb2.SweepRequest(
        model=VAE, row_dimension=2, column_dimension=0, steps=3, low=-1, high=1, format=RAW
    )
    reply = await server.images.Sweep(request)
    grid = np.array([[column, 0, row] for row in (-1, 0, 1) for column in (-1, 0, 1)], np.float32)
    assert reply.steps == 3
    assert (pixels_of(reply.images) == decoded(grid)).all()


async def test_a_sweep_may_start_from_an_image_and_has_eight_steps_by_default(server: Running):
    request = images_pb2.SweepRequest(model=VAE, image=message(image()), column_dimension=1, format=RAW)
    reply = await server.images.Sweep(request)
    corner = encoded(image()[None])[0]
    corner[[0, 1]] = -3
    assert len(reply.images) == 64
    assert (pixels_of(reply.images)[0] == decoded(corner[None])[0]).all()


async def test_each_score_names_its_kind(server: Running):
    def score(model, **given):
        images = [message(image()), message(np.zeros((HEIGHT, WIDTH)))]
        return server.images.Score(images_pb2.ScoreRequest(model=model, images=images, **given))

    elbo = await score(VAE, seed=4)
    assert elbo.kind == images_pb2.SCORE_KIND_ELBO
    noise = [float(normals(4, index, LATENT).sum()) for index in (0, 1)]
    assert np.allclose(elbo.scores, [image().sum() + noise[0], noise[1]])
    real = await score(GAN)
    assert (real.kind, list(real.scores)) == (images_pb2.SCORE_KIND_REAL_PROBABILITY, [0.25, 0.25])


async def test_many_requests_at_once_each_get_their_own_images(server: Running):
    calls = [server.images.Draw(draw(count=1 + seed % 5, seed=seed)) for seed in range(60)]
    for seed, reply in enumerate(await asyncio.gather(*calls)):
        latents = np.stack([normals(seed, index, LATENT) for index in range(1 + seed % 5)])
        assert (pixels_of(reply.images) == decoded(latents)).all()


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("Draw", lambda: images_pb2.DrawRequest(model=PIXEL_RNN)),
        ("Decode", lambda: images_pb2.DecodeRequest(model=PIXEL_RNN)),
        ("Encode", lambda: images_pb2.EncodeRequest(model=GAN, images=[message(image())])),
        ("Reconstruct", lambda: images_pb2.ReconstructRequest(model=GAN, images=[message(image())])),
        ("Sweep", lambda: images_pb2.SweepRequest(model=PIXEL_RNN)),
        ("Score", lambda: images_pb2.ScoreRequest(model=PIXEL_RNN, images=[message(image())])),
        ("DrawStream", lambda: images_pb2.DrawStreamRequest(model=VAE)),
    ],
)
async def test_an_rpc_for_which_the_model_has_no_graph_is_a_failed_precondition(
    server: Running, method, request_of
):
    refusal = await refused(getattr(server.images, method)(request_of()))
    assert (refusal.code, refusal.reason, refusal.domain) == (
        "FAILED_PRECONDITION",
        "GRAPH_NOT_SERVED",
        "smalti",
    )


WRONG = [
    ("Draw", lambda: draw(count=257), "count"),
    ("Draw", lambda: draw(count=2, first_index=2**64 - 1), "first_index"),
    ("Draw", lambda: draw(model=types_pb2.ModelVersion()), "model.name"),
    ("Draw", lambda: draw(model=types_pb2.ModelVersion(name="x" * 10_000)), "model.name"),
    ("Decode", lambda: images_pb2.DecodeRequest(model=VAE), "latents"),
    (
        "Decode",
        lambda: images_pb2.DecodeRequest(model=VAE, latents=[types_pb2.Latent(values=[1, 2])]),
        "latents",
    ),
    (
        "Decode",
        lambda: images_pb2.DecodeRequest(model=VAE, latents=[types_pb2.Latent(values=[1, float("nan"), 2])]),
        "latents",
    ),
    ("Encode", lambda: images_pb2.EncodeRequest(model=VAE), "images"),
    ("Encode", lambda: images_pb2.EncodeRequest(model=VAE, images=[types_pb2.Image()]), "images"),
    ("Encode", lambda: images_pb2.EncodeRequest(model=VAE, images=[message(image()[:3])]), "images"),
    (
        "Encode",
        lambda: images_pb2.EncodeRequest(model=VAE, images=[message(image() + COLOURS)]),
        "images",
    ),
    (
        "Encode",
        lambda: images_pb2.EncodeRequest(model=VAE, images=[types_pb2.Image(png=png(np.zeros((5, 6, 3))))]),
        "images",
    ),
    (
        "Encode",
        lambda: images_pb2.EncodeRequest(model=VAE, images=[types_pb2.Image(png=b"GIF89a")]),
        "images",
    ),
    (
        "Interpolate",
        lambda: images_pb2.InterpolateRequest(
            model=VAE, first=message(image()), last=message(image()), steps=1
        ),
        "steps",
    ),
    ("Interpolate", lambda: images_pb2.InterpolateRequest(model=VAE, first=message(image())), "last"),
    ("Sweep", lambda: images_pb2.SweepRequest(model=VAE, row_dimension=3), "row_dimension"),
    ("Sweep", lambda: images_pb2.SweepRequest(model=VAE), "column_dimension"),
    ("Sweep", lambda: images_pb2.SweepRequest(model=VAE, column_dimension=1, steps=17), "steps"),
    ("Sweep", lambda: images_pb2.SweepRequest(model=VAE, column_dimension=1, low=3, high=3), "low"),
    ("DrawStream", lambda: images_pb2.DrawStreamRequest(model=PIXEL_RNN, temperature=11), "temperature"),
    (
        "DrawStream",
        lambda: images_pb2.DrawStreamRequest(model=PIXEL_RNN, temperature=float("nan")),
        "temperature",
    ),
]


@pytest.mark.parametrize(("method", "request_of", "field"), WRONG)
async def test_a_wrong_value_is_refused_with_the_name_of_its_field(
    server: Running, method, request_of, field
):
    refusal = await refused(getattr(server.images, method)(request_of()))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])
    assert refusal.reason in {"INVALID_REQUEST", "IMAGE_REFUSED"}
    assert refusal.message.endswith(".")


@pytest.mark.parametrize(
    ("method", "request_of", "advice"),
    [
        ("Draw", lambda: draw(count=257), "send several requests with different first indices"),
        (
            "Interpolate",
            lambda: images_pb2.InterpolateRequest(
                model=VAE, first=message(image()), last=message(image()), steps=257
            ),
            "take fewer steps",
        ),
        (
            "Decode",
            lambda: images_pb2.DecodeRequest(model=VAE, latents=[types_pb2.Latent(values=[0, 0, 0])] * 257),
            "send several requests",
        ),
    ],
)
async def test_too_many_images_are_refused_with_what_to_do(server: Running, method, request_of, advice):
    message_of_refusal = (await refused(getattr(server.images, method)(request_of()))).message
    assert message_of_refusal == (
        "A request to toy-vae has 1 to 256 images, not 257: "
        f"{advice}, or raise SMALTI_MAX_IMAGES of the server."
    )


async def test_an_image_of_another_size_is_refused_with_both_sizes(server: Running):
    request = images_pb2.EncodeRequest(model=VAE, images=[types_pb2.Image(png=png(np.zeros((5, 6, 3))))])
    message_of_refusal = (await refused(server.images.Encode(request))).message
    assert "6×5" in message_of_refusal
    assert "5×4" in message_of_refusal


async def test_an_error_about_one_of_several_images_gives_its_number(server: Running):
    good, wrong = png(np.zeros((HEIGHT, WIDTH, 3))), png(np.zeros((5, 6, 3)))
    for method, kind in (
        ("Encode", images_pb2.EncodeRequest),
        ("Reconstruct", images_pb2.ReconstructRequest),
    ):
        request = kind(model=VAE, images=[types_pb2.Image(png=data) for data in (good, good, wrong)])
        refusal = await refused(getattr(server.images, method)(request))
        assert (
            refusal.message
            == f"Image 3 of 3 is 6×5, the model draws {WIDTH}×{HEIGHT}: bring it to that size."
        )


async def test_16_bit_pngs_and_exif_orientation_are_read_like_plain_pngs(server: Running):
    deep = np.zeros((HEIGHT, WIDTH), np.uint16)
    deep[:, 0] = 65535
    exif = Pillow.Exif()
    exif[0x0112] = 6
    lying = Pillow.fromarray(deep.astype(bool).astype(np.uint8) * 255).transpose(Pillow.Transpose.ROTATE_90)
    sent = [saved(Pillow.fromarray(deep)), saved(lying, exif=exif)]
    reply = await server.images.Reconstruct(
        images_pb2.ReconstructRequest(
            model=VAE, images=[types_pb2.Image(png=data) for data in sent], format=RAW
        )
    )
    plain = images_pb2.ReconstructRequest(
        model=VAE, images=[types_pb2.Image(png=png(np.stack([deep // 257] * 3, axis=-1)))] * 2, format=RAW
    )
    assert (pixels_of(reply.images) == pixels_of((await server.images.Reconstruct(plain)).images)).all()


@pytest.mark.parametrize("data", [b"GIF89a", png(np.zeros((HEIGHT, WIDTH, 3)))[:-25], b""])
async def test_refusals_of_images_contain_no_object_addresses_and_no_paths(server: Running, data):
    request = images_pb2.EncodeRequest(model=VAE, images=[types_pb2.Image(png=data)])
    told = (await refused(server.images.Encode(request))).message
    assert told in {"The image is not a PNG.", "The image is cut off or damaged.", "The image is empty."}


async def test_an_unknown_model_is_refused_with_the_names_of_known_models(server: Running):
    refusal = await refused(server.images.Draw(draw(model=types_pb2.ModelVersion(name="no-such-model"))))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert "no-such-model" in refusal.message
    assert "toy-vae" in refusal.message


async def test_an_unknown_version_is_not_found(server: Running):
    refusal = await refused(server.images.Draw(draw(model=types_pb2.ModelVersion(name="toy-vae", version=9))))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_more_images_than_a_response_can_hold_are_refused(start_server):
    async with start_server(max_message_bytes=10 * PIXELS) as small:
        assert len((await small.images.Draw(draw(count=10))).images) == 10
        refusal = await refused(small.images.Draw(draw(count=11)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["count"])


async def test_a_request_larger_than_the_queue_of_its_graph_is_invalid(start_server):
    async with start_server(max_waiting=2) as small:
        refusal = await refused(small.images.Draw(draw(count=3)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert "at most 2 may wait" in refusal.message


async def test_every_rpc_is_measured_with_its_code(server: Running):
    def count(code: str) -> float:
        labels = ("smalti.v1.ImageService", "Draw", code)
        [metric] = RPC_SECONDS.labels(*labels).collect()
        return sum(sample.value for sample in metric.samples if sample.name.endswith("_count"))

    before = count("OK"), count("NOT_FOUND")
    await server.images.Draw(draw())
    await refused(server.images.Draw(draw(model=types_pb2.ModelVersion(name="none"))))
    assert (count("OK"), count("NOT_FOUND")) == (before[0] + 1, before[1] + 1)


async def test_a_message_that_is_too_large_is_refused(start_server):
    async with start_server(max_message_bytes=100_000) as small:
        request = images_pb2.EncodeRequest(model=VAE, images=[types_pb2.Image(png=bytes(200_000))])
        assert (await refused(small.images.Encode(request))).code == "RESOURCE_EXHAUSTED"


async def test_bytes_that_cannot_be_parsed_are_an_invalid_argument(server: Running):
    send: Any = server.channel.unary_unary("/smalti.v1.ImageService/Draw")
    refusal = await refused(send(b"\xff\xff\xff"))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
