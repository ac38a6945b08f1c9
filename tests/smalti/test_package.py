"""`import smalti` is light, and still gives the clients."""

import subprocess
import sys

import pytest

import smalti
import smalti.client


def test_importing_the_package_loads_neither_grpc_nor_pillow():
    code = (
        "import sys, smalti; print(*sorted({name.split('.')[0] for name in sys.modules} & {'grpc', 'PIL'}));"
        "print(*(name for name in sys.modules if name.startswith('smalti')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.splitlines() == ["", "smalti"]


def test_the_clients_can_be_imported_from_the_package():
    from smalti import AsyncClient, Client

    assert (Client, AsyncClient) == (smalti.client.Client, smalti.client.AsyncClient)
    assert {"Client", "AsyncClient", "__version__"} <= set(dir(smalti))
    assert "TYPE_CHECKING" not in dir(smalti)


def test_a_name_that_the_package_lacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'smalti' has no attribute 'Cleint'"):
        smalti.Cleint  # type: ignore[attr-defined]  # noqa: B018
