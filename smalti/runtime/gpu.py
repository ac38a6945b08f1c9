"""Describes the GPU by what decides the last bits of a sum. It asks NVIDIA's driver, so no package is needed."""

import ctypes
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_DRIVER = "libcuda.so.1"
_UNKNOWN = "unknown"
_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16  # numbers of CUdevice_attribute in cuda.h


class _Refused(Exception):
    """The driver answered with an error code."""


def describe(driver: Any = None) -> str:
    """The first GPU that this process may use, as one word: `NVIDIA-H200-sm9.0-132`, with cuBLAS' version if known.

    Name, compute capability and number of multiprocessors: cuBLAS gives equal bits if these and its own version are
    equal. `unknown` without a driver.
    """
    try:
        words = _device(driver or ctypes.CDLL(_DRIVER))
    except (OSError, _Refused):
        return _UNKNOWN
    with suppress(PackageNotFoundError):
        words.append(f"cublas{version('nvidia-cublas')}")
    return "-".join(re.sub(r"[^\w.]+", "-", word) for word in words)


def _device(driver: Any) -> list[str]:
    number, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    _call(driver.cuInit, 0)
    _call(driver.cuDeviceGet, ctypes.byref(number), 0)
    _call(driver.cuDeviceGetName, name, len(name), number)
    major, minor, multiprocessors = (
        _attribute(driver, number, attribute) for attribute in (_MAJOR, _MINOR, _MULTIPROCESSORS)
    )
    return [name.value.decode(), f"sm{major}.{minor}", str(multiprocessors)]


def _attribute(driver: Any, device: ctypes.c_int, attribute: int) -> int:
    value = ctypes.c_int()
    _call(driver.cuDeviceGetAttribute, ctypes.byref(value), attribute, device)
    return value.value


def _call(function: Any, *arguments: object) -> None:
    if function(*arguments):
        raise _Refused
