"""Triton's own client shows its token as a header, and trusts an authority by its file."""

import asyncio
from pathlib import Path

import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from smalti.client.credentials import channel_credentials
from tests.server.conftest import StartServer
from tests.server.security.certificates import Certificates
from tests.server.security.conftest import TOKENS


def metadata(address: str, ca: Path, token: str | None) -> str:
    client = tritonclient.grpc.InferenceServerClient(address, ssl=True, root_certificates=str(ca))
    try:
        headers = None if token is None else {"authorization": f"Bearer {token}"}
        return str(client.get_model_metadata("toy-vae.decode", headers=headers).name)
    finally:
        client.close()


async def test_a_client_of_triton_is_let_in_by_its_token_over_tls(
    start_server: StartServer, certificates: Certificates, tls, tokens_file: Path
):
    opening = channel_credentials(ca=certificates.ca)
    async with start_server(**tls, tokens_file=tokens_file, credentials=opening) as server:

        def ask(token: str | None) -> str:
            return metadata(server.address, certificates.ca, token)

        assert await asyncio.to_thread(ask, TOKENS["ada"]) == "toy-vae.decode"
        for wrong in (None, "nonsense"):
            with pytest.raises(InferenceServerException, match="token") as caught:
                await asyncio.to_thread(ask, wrong)
            assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
