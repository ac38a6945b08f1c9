"""What the two clients' connections have in common."""

from smalti.messages import Palette
from smalti.values import ModelVersion

DEFAULT_ADDRESS = "localhost:50051"
_MAX_RESPONSE_BYTES = 64 * 1024 * 1024  # 256 images of 256 × 256 pixels and 65,536 colours, twice


def options() -> list[tuple[str, int]]:
    """Channel options: large responses pass, and a server that comes back is found within a second."""
    return [
        ("grpc.max_receive_message_length", _MAX_RESPONSE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]


class PaletteStore:
    """Palettes of models, by digest too: a version may be exported anew. Bounded, because a client may live long."""

    _CAPACITY = 64

    def __init__(self) -> None:
        self._palettes: dict[tuple[ModelVersion, str], Palette] = {}

    def get(self, model: ModelVersion) -> Palette | None:
        """The palette, if it was kept."""
        return self._palettes.get((model, model.digest))

    def keep(self, model: ModelVersion, palette: Palette) -> Palette:
        """Remember the palette in place of the oldest one."""
        while len(self._palettes) >= self._CAPACITY:
            self._palettes.pop(next(iter(self._palettes)), None)
        self._palettes[model, model.digest] = palette
        return palette
