"""The Python client: `Client` for ordinary code, `AsyncClient` for asyncio."""

from smalti.client.async_client import AsyncClient
from smalti.client.client import Client

__all__ = ["AsyncClient", "Client"]
