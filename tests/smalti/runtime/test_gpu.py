"""One word describes a GPU by what decides the last bits of a sum."""

import ctypes

from smalti.runtime.gpu import describe


class Driver:
    """NVIDIA's driver, as far as it is asked."""

    def __init__(self, *, answer: int = 0, name: bytes = b"NVIDIA H200 MIG 1g.18gb") -> None:
        self._answer = answer
        self._name = name

    def cuInit(self, flags):
        return self._answer

    def cuDeviceGet(self, device, ordinal):
        return 0

    def cuDeviceGetName(self, text, length, device):
        ctypes.memmove(text, self._name, len(self._name))
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = {75: 9, 76: 0, 16: 132}[attribute]
        return 0


def test_the_description_names_the_kind_of_gpu_and_its_multiprocessors():
    assert describe(Driver()).startswith("NVIDIA-H200-MIG-1g.18gb-sm9.0-132")


def test_the_description_has_no_plus_because_plus_joins_fingerprints():
    assert not set(describe(Driver(name=b"A+B C\t(D)"))) & set(" +\t")


def test_without_a_gpu_the_description_is_unknown():
    assert describe(Driver(answer=100)) == "unknown"  # CUDA_ERROR_NO_DEVICE
