"""Sessions run on what was asked for, or not at all."""

from pathlib import Path

import onnxruntime
import pytest

from smalti.errors import ProviderMissing, RepositoryDamaged
from smalti.session import _provider, fingerprint, open_session


def graph(repository: Path) -> Path:
    return repository / "toy-pixel-rnn" / "1" / "draw_row.onnx"


def test_a_graph_is_opened_on_the_cpu(toy_repository: Path) -> None:
    session = open_session(graph(toy_repository), threads=2)
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA")
def test_cuda_is_never_replaced_by_the_cpu(toy_repository: Path) -> None:
    with pytest.raises(
        ProviderMissing, match=r"SMALTI_PROVIDERS is 'cuda', but .* set SMALTI_PROVIDERS=cpu\."
    ):
        open_session(graph(toy_repository), provider="cuda")


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_a_file_that_is_no_graph_is_said_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(RepositoryDamaged, match=r"onnxruntime cannot open .*bad\.onnx"):
        open_session(tmp_path / "bad.onnx")


def test_a_fingerprint_is_one_word_that_names_runtime_and_provider() -> None:
    cpu, cuda = fingerprint("cpu"), fingerprint("cuda")
    assert cpu != cuda
    assert onnxruntime.__version__.split("+")[0] in cpu
    assert not set(cpu) & set(" +\n\t")


def test_on_a_gpu_the_sizes_of_the_batches_are_part_of_the_fingerprint() -> None:
    one, several = fingerprint("cuda", batches=[32]), fingerprint("cuda", batches=[1, 8, 32])
    assert one.endswith("/32")
    assert several.endswith("/1-8-32")
    assert fingerprint("cpu", batches=[32]) == fingerprint("cpu")  # where they do not matter
    assert not set(several) & set(" +\n\t")


def test_a_session_for_one_size_of_batch_refuses_another(toy_repository: Path) -> None:
    session = open_session(graph(toy_repository), batch=3)
    assert {tuple(given.shape[:1]) for given in session.get_inputs()} == {(3,)}


def test_kernels_are_captured_only_where_that_is_asked_for() -> None:
    for captured in (False, True):
        provider = _provider("cuda", 2048, captured)
        assert isinstance(provider, tuple)
        assert (provider[1]["enable_cuda_graph"], provider[1]["use_tf32"]) == (captured, 0)
