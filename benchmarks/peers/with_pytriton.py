"""Serves ONNX files with PyTriton, in its own environment: `python with_pytriton.py PORT TOKEN NAME=FILE ...`."""

import multiprocessing.resource_tracker as tracker
import sys
import threading


class _CountingLock:
    """A lock that its thread may take again, and that says how often it did.

    PyTriton's dependencies ask the resource tracker's lock for that; the RLock of Python 3.11.7 cannot say it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._count = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        self._lock.release()

    def _recursion_count(self) -> int:
        return self._count


tracker._resource_tracker._lock = _CountingLock()

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from pytriton.decorators import batch  # noqa: E402
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor  # noqa: E402
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig  # noqa: E402


def main(port: int, token: str, models: dict[str, str]) -> None:
    config = TritonConfig(
        grpc_address="127.0.0.1", grpc_port=port, allow_http=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config, security_config=TritonSecurityConfig(access_token=token)) as triton:
        for name, file in models.items():
            _bind(triton, name, file)
        triton.serve()


def _bind(triton: Triton, name: str, file: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    [output] = session.get_outputs()

    @batch
    def infer(**inputs: np.ndarray) -> list[np.ndarray]:
        return session.run(None, inputs)

    triton.bind(
        model_name=name,
        infer_func=infer,
        inputs=[
            Tensor(name=each.name, dtype=np.float32, shape=each.shape[1:]) for each in session.get_inputs()
        ],
        outputs=[Tensor(name=output.name, dtype=np.float32, shape=output.shape[1:])],
        config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher()),
        strict=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], dict(each.split("=", 1) for each in sys.argv[3:]))
