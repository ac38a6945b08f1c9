"""System shared memory: tensors lie in files under /dev/shm that a client has registered."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm

from server.hub import Hub
from server.inference.shared_memory import Place, Regions, SharedRegions
from server.siblings import Alone
from smalti.errors import InvalidRequest, RegionNotFound, RequestConflict
from tests.server.inference.conftest import refusal
from tests.server.inference.test_inferring import DECODE, LATENTS
from tests.server.inference.test_streaming import responses_to
from tests.server.test_siblings import connected
from tests.server.toys import decoded

BYTES_IN, BYTES_OUT = LATENTS.nbytes, decoded(LATENTS).nbytes


@contextmanager
def tritons_region(name: str, byte_size: int) -> Iterator[Any]:
    """A region that Triton's own utilities make."""
    handle = shm.create_shared_memory_region(name, f"/{name}-{os.getpid()}", byte_size)
    try:
        yield handle
    finally:
        shm.destroy_shared_memory_region(handle)


def latents_in(region: str, byte_size: int = BYTES_IN, offset: int = 0) -> list[Any]:
    """The input of `decode`, in shared memory."""
    tensor = triton.InferInput("latent", [2, 3], "FP32")
    tensor.set_shared_memory(region, byte_size, offset)
    return [tensor]


def pixels_in(region: str, byte_size: int = BYTES_OUT, offset: int = 0) -> list[Any]:
    """The output of `decode`, in shared memory."""
    output = triton.InferRequestedOutput("pixels")
    output.set_shared_memory(region, byte_size, offset)
    return [output]


async def test_inputs_are_read_from_and_outputs_written_into_tritons_regions(client):
    with tritons_region("inputs", BYTES_IN) as inputs, tritons_region("outputs", BYTES_OUT) as outputs:
        shm.set_shared_memory_region(inputs, [LATENTS])
        await client.register_system_shared_memory("inputs", f"/inputs-{os.getpid()}", BYTES_IN)
        await client.register_system_shared_memory("outputs", f"/outputs-{os.getpid()}", BYTES_OUT)
        result = await client.infer(DECODE, latents_in("inputs"), outputs=pixels_in("outputs"))
        found = shm.get_contents_as_numpy(outputs, np.int64, [2, 4, 5]).copy()
    np.testing.assert_array_equal(found, decoded(LATENTS))
    response = result.get_response()
    assert list(response.raw_output_contents) == [b""]
    assert response.outputs[0].parameters["shared_memory_region"].string_param == "outputs"
    assert response.outputs[0].parameters["shared_memory_byte_size"].int64_param == BYTES_OUT


async def test_a_region_may_begin_later_in_the_file_and_a_tensor_later_in_the_region(client, key):
    file = Path("/dev/shm") / key[1:]
    file.write_bytes(bytes(100 + 20) + LATENTS.tobytes() + bytes(1000))
    await client.register_system_shared_memory("part", key, 1000, offset=100)
    await client.infer(DECODE, latents_in("part", offset=20), outputs=pixels_in("part", offset=200))
    written = file.read_bytes()[300 : 300 + BYTES_OUT]
    assert written == decoded(LATENTS).tobytes()


async def test_an_output_smaller_than_its_place_leaves_the_rest_as_it_was(client, key):
    file = Path("/dev/shm") / key[1:]
    file.write_bytes(LATENTS.tobytes() + b"\xff" * 1000)
    await client.register_system_shared_memory("both", key, 1000)
    place = pixels_in("both", byte_size=BYTES_OUT + 8, offset=BYTES_IN)
    response = (await client.infer(DECODE, latents_in("both"), outputs=place)).get_response()
    assert response.outputs[0].parameters["shared_memory_byte_size"].int64_param == BYTES_OUT
    assert file.read_bytes()[BYTES_IN + BYTES_OUT :] == b"\xff" * (1000 - BYTES_OUT)


async def test_the_status_lists_regions_until_they_are_unregistered(client, key):
    await client.register_system_shared_memory("one", key, 64, offset=8)
    await client.register_system_shared_memory("two", key, 32)
    status = await client.get_system_shared_memory_status(as_json=True)
    assert status["regions"]["one"] == {"name": "one", "key": key, "offset": "8", "byte_size": "64"}
    assert set(status["regions"]) == {"one", "two"}
    await client.unregister_system_shared_memory("one")
    await client.unregister_system_shared_memory("one")  # it need not be there
    assert set((await client.get_system_shared_memory_status()).regions) == {"two"}
    assert await refusal(client.get_system_shared_memory_status("one")) == (
        "NOT_FOUND",
        "Unable to find shared memory region: 'one'.",
    )
    await client.unregister_system_shared_memory()
    assert not (await client.get_system_shared_memory_status()).regions


async def test_a_name_is_registered_once(client, key):
    await client.register_system_shared_memory("mine", key, 64)
    code, message = await refusal(client.register_system_shared_memory("mine", key, 32))
    assert (code, message) == ("ALREADY_EXISTS", "shared memory region 'mine' already in manager.")
    assert (await client.get_system_shared_memory_status("mine")).regions["mine"].byte_size == 64


@pytest.mark.parametrize("wrong", ["", "/", ".", "..", "/..", "../etc/passwd", "a/b", "//etc", "/dev/shm/x"])
async def test_a_key_is_never_a_path(client, wrong):
    code, message = await refusal(client.register_system_shared_memory("mine", wrong, 8))
    assert code == "INVALID_ARGUMENT"
    assert "is no key of shared memory" in message


@pytest.mark.parametrize("wrong", ["x" * 256, "/" + "ü" * 128])
async def test_a_key_that_is_too_long_is_refused_with_the_limit(client, wrong):
    assert await refusal(client.register_system_shared_memory("mine", wrong, 8)) == (
        "INVALID_ARGUMENT",
        "a key of shared memory has at most 255 bytes, not 256.",
    )


@pytest.mark.parametrize("wrong", ["", "x" * 256])
async def test_a_refused_name_leaves_the_regions_of_others(client, key, wrong):
    await client.register_system_shared_memory("others", key, 64)
    code, message = await refusal(client.register_system_shared_memory(wrong, key, 8))
    assert (code, message) == ("INVALID_ARGUMENT", "Name the shared memory region, in 1 to 255 characters.")
    assert set((await client.get_system_shared_memory_status()).regions) == {"others"}


async def test_a_key_that_is_a_link_a_folder_or_nothing_is_refused(client, key):
    place = Path("/dev/shm") / f"{key[1:]}-other"
    assert "No such file" in (await refusal(client.register_system_shared_memory("no", place.name, 8)))[1]
    place.symlink_to("/etc/hostname")
    try:
        _, message = await refusal(client.register_system_shared_memory("no", place.name, 8))
        assert "is a symbolic link" in message
    finally:
        place.unlink()
    place.mkdir()
    try:
        assert (
            "Unable to open" in (await refusal(client.register_system_shared_memory("no", place.name, 8)))[1]
        )
    finally:
        place.rmdir()


@pytest.mark.parametrize(("byte_size", "offset"), [(0, 0), (4097, 0), (4000, 97), (2**64 - 1, 2**64 - 1)])
async def test_a_region_must_fit_into_its_file(client, key, byte_size, offset):
    code, message = await refusal(client.register_system_shared_memory("mine", key, byte_size, offset=offset))
    assert code == "INVALID_ARGUMENT"
    assert "does not fit into it" in message
    assert not (await client.get_system_shared_memory_status()).regions


@pytest.mark.parametrize(("byte_size", "offset"), [(BYTES_IN, 1000), (1001, 0), (BYTES_IN, 2**62)])
async def test_a_tensor_must_fit_into_its_region(client, key, byte_size, offset):
    await client.register_system_shared_memory("mine", key, 1000)
    calls = (
        client.infer(DECODE, latents_in("mine", byte_size, offset)),
        client.infer(DECODE, latents_in("mine"), outputs=pixels_in("mine", byte_size, offset)),
    )
    for call in calls:
        code, message = await refusal(call)
        assert code == "INVALID_ARGUMENT"
        assert "Invalid offset + byte size for shared memory region" in message


async def test_an_input_has_exactly_the_bytes_of_its_shape(client, key):
    await client.register_system_shared_memory("mine", key, 1000)
    code, message = await refusal(client.infer(DECODE, latents_in("mine", BYTES_IN - 4)))
    assert code == "INVALID_ARGUMENT"
    assert "its shape has 6 values, but 5 came" in message


async def test_an_output_needs_room(client, key):
    await client.register_system_shared_memory("mine", key, 1000)
    code, message = await refusal(client.infer(DECODE, latents_in("mine"), outputs=pixels_in("mine", 319)))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(f"{DECODE}: ")
    assert f"should be at least {BYTES_OUT} bytes to hold the results" in message


async def test_a_region_outlives_the_name_of_its_file(client, key):
    await client.register_system_shared_memory("mine", key, 1000)
    (Path("/dev/shm") / key[1:]).unlink()
    result = await client.infer(DECODE, latents_in("mine"))
    np.testing.assert_array_equal(result.as_numpy("pixels"), decoded(np.zeros_like(LATENTS)))


async def test_tensors_of_a_stream_lie_in_shared_memory_too(client, key):
    file = Path("/dev/shm") / key[1:]
    file.write_bytes(LATENTS.tobytes() + bytes(1000))
    await client.register_system_shared_memory("both", key, 1000)
    request = {"model_name": DECODE, "inputs": latents_in("both"), "outputs": pixels_in("both", offset=100)}
    too_small = request | {"outputs": pixels_in("both", 8)}
    [(result, _), (_, error)] = await responses_to(client, [request, too_small])
    assert list(result.get_response().raw_output_contents) == [b""]
    assert file.read_bytes()[100 : 100 + BYTES_OUT] == decoded(LATENTS).tobytes()
    assert f"should be at least {BYTES_OUT} bytes to hold the results" in error.message()


async def test_an_unknown_region_is_not_found(client):
    code, message = await refusal(client.infer(DECODE, latents_in("nowhere")))
    assert (code, message) == ("NOT_FOUND", f"{DECODE}: Unable to find shared memory region: 'nowhere'.")


async def test_a_file_that_a_client_cuts_is_refused_and_the_server_lives_on(client, key):
    await client.register_system_shared_memory("mine", key, 4096)
    os.truncate(Path("/dev/shm") / key[1:], 10)
    for call in (
        client.infer(DECODE, latents_in("mine")),
        client.infer(DECODE, latents_in("mine"), outputs=pixels_in("mine", offset=1000)),
    ):
        code, message = await refusal(call)
        assert code == "INVALID_ARGUMENT"
        assert "has become shorter" in message
    assert await client.is_server_live()


async def test_classes_do_not_go_into_shared_memory(client, key):
    await client.register_system_shared_memory("mine", key, 4096)
    output = triton.InferRequestedOutput("pixels", class_count=1)
    output._get_tensor().parameters["shared_memory_region"].string_param = "mine"
    code, message = await refusal(client.infer(DECODE, latents_in("mine"), outputs=[output]))
    assert (code, "cannot go into shared memory" in message) == ("INVALID_ARGUMENT", True)


async def test_shared_memory_of_a_gpu_is_unimplemented(client):
    code, _ = await refusal(client.register_cuda_shared_memory("gpu", b"aGFuZGxl", 0, 64))
    assert code == "UNIMPLEMENTED"
    await client.unregister_cuda_shared_memory("gpu")
    assert not (await client.get_cuda_shared_memory_status()).regions


async def test_a_server_without_shared_memory_says_so(start_server, key):
    async with (
        start_server(shared_memory="off") as server,
        triton.aio.InferenceServerClient(server.address) as client,
    ):
        assert "system_shared_memory" not in (await client.get_server_metadata()).extensions
        code, message = await refusal(client.register_system_shared_memory("mine", key, 8))
        assert (code, "SMALTI_SHARED_MEMORY" in message) == ("UNIMPLEMENTED", True)
        await client.unregister_system_shared_memory()


async def test_a_server_that_listens_beyond_loopback_has_no_shared_memory_unless_told(start_server, key):
    async with (
        start_server(listen="0.0.0.0:0") as server,
        triton.aio.InferenceServerClient(server.address) as client,
    ):
        assert (await refusal(client.register_system_shared_memory("mine", key, 8)))[0] == "UNIMPLEMENTED"


def test_a_tensor_in_shared_memory_is_no_larger_than_a_message(key):
    regions = Regions(most_bytes=1000)
    regions.register("mine", key, 0, 4096)
    with pytest.raises(InvalidRequest, match="at most 1000 bytes, not 1001"):
        regions.read(Place("mine", 0, 1001))


def test_unregistering_closes_the_file(key):
    regions = Regions(most_bytes=1000)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        regions.register(str(number), key, 0, 8)
    with pytest.raises(InvalidRequest):
        regions.register("too large", key, 0, 5000)
    assert len(os.listdir("/proc/self/fd")) == before + 10
    regions.unregister("")
    assert len(os.listdir("/proc/self/fd")) == before


async def test_what_one_process_cannot_open_no_process_keeps(key):
    regions = Regions(most_bytes=1000)
    shared = SharedRegions(regions, Alone(), is_allowed=True)
    await shared.register("mine", key, 0, 8)
    with pytest.raises(RequestConflict):
        await shared.register("mine", key, 0, 8)
    with pytest.raises(InvalidRequest):
        await shared.register("other", "nothing", 0, 8)
    assert [region.name for region in regions.registered()] == ["mine"]
    with pytest.raises(RegionNotFound):
        regions.registered("other")


@pytest.fixture
async def two() -> AsyncIterator[list[SharedRegions]]:
    """The regions of two processes of one server."""
    hub = Hub([1, 2])
    async with connected(hub, 1) as first, connected(hub, 2) as second:
        siblings = [first.siblings, second.siblings]
        shared = [SharedRegions(Regions(most_bytes=1000), each, is_allowed=True) for each in siblings]
        await asyncio.gather(*(each.loaded() for each in siblings))
        yield shared


async def test_of_two_registers_of_one_name_at_once_one_stays_in_both_processes(two, key):
    first, second = two
    answers = await asyncio.gather(
        first.register("mine", key, 0, 8), second.register("mine", key, 0, 16), return_exceptions=True
    )
    [refused] = [each for each in answers if each is not None]
    assert isinstance(refused, RequestConflict)
    kept = 8 if answers[0] is None else 16
    assert [shared.regions.registered("mine")[0].byte_size for shared in two] == [kept, kept]


async def test_a_register_that_one_process_refuses_takes_back_only_its_own_region(two, key):
    first, second = two
    await first.register("others", key, 0, 8)
    second.regions.register("mine", key, 0, 16)  # as if only this process had it
    with pytest.raises(RequestConflict):
        await first.register("mine", key, 0, 8)
    assert [region.name for region in first.regions.registered()] == ["others"]
    assert second.regions.registered("mine")[0].byte_size == 16


async def test_what_every_process_would_refuse_is_told_to_none(two, key):
    first, second = two
    await first.register("others", key, 0, 8)
    for name, wrong in (("", key), ("mine", "nothing"), ("others", key)):
        with pytest.raises((InvalidRequest, RequestConflict)):
            await second.register(name, wrong, 0, 8)
    assert [[region.name for region in shared.regions.registered()] for shared in two] == [["others"]] * 2
