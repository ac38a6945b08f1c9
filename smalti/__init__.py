"""smalti: small generative image models, drawn as a service."""

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]

TYPE_CHECKING = False  # type checkers and editors take it for true; to import typing would cost time
if TYPE_CHECKING:
    from smalti.client import AsyncClient, Client
else:

    def __getattr__(name):
        """The clients, imported when they are first used: `import smalti` loads neither gRPC nor Pillow."""
        if name not in __all__:
            raise AttributeError(f"module 'smalti' has no attribute '{name}'")
        from smalti import client

        return getattr(client, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})
