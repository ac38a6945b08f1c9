"""The comparison with other servers: what they serve, and how a server is measured."""

import numpy as np
import onnxruntime
import pytest

from benchmarks.peers import graphs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return graphs.write(tmp_path_factory.mktemp("models"))


def answer(file, latents):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    [pixels] = session.run([graphs.OUTPUT], {graphs.INPUT: latents})
    return pixels


def test_the_large_answer_is_the_small_one_many_times(files):
    latents = np.random.default_rng(1).normal(size=(2, graphs.LATENT)).astype("float32")
    small, large = (answer(files[name], latents) for name in (graphs.SMALL, graphs.LARGE))
    assert small.shape == (2, 1200)
    assert large.nbytes // 2 > 4_000_000
    assert (large.reshape(2, graphs.REPEATS, 1200) == small[:, None]).all()


def test_the_same_files_are_written_again(files, tmp_path):
    again = graphs.write(tmp_path)
    assert {name: file.read_bytes() for name, file in again.items()} == {
        name: file.read_bytes() for name, file in files.items()
    }
