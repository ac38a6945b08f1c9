"""The comparison with other servers: what they serve, and how a server is measured."""

import numpy as np
import onnxruntime
import pytest

from benchmarks.peers import graphs
from benchmarks.peers.loads import with_python
from benchmarks.peers.servers import run_all


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


def test_smalti_serves_both_files_to_the_common_client(files, tmp_path):
    with run_all(("smalti",), files, tmp_path) as [smalti]:
        for model in (graphs.SMALL, graphs.LARGE):
            figures = with_python(smalti, model, 2, seconds=0.1)
            assert figures.requests_per_second > 0
            assert figures.p99_milliseconds > 0
