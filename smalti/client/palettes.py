"""The palettes of models: a server sends the pixels of each image, and the colours only on request."""

from smalti.client.calls.call import Palette
from smalti.client.values import ModelDetails, ModelVersion
from smalti.errors import ModelNotFound


def palette_of(found: ModelDetails, wanted: ModelVersion) -> Palette:
    """The palette of the model that was asked for; raises ModelNotFound if its version was exported again."""
    if wanted.digest not in ("", found.model.digest):
        raise ModelNotFound(
            f"{wanted.name} version {wanted.version} was exported again since this was drawn, and may have other "
            "colours now: put the old export back to read it."
        )
    return found.model.palette


class PaletteStore:
    """Keeps the palettes of the last 64 models, by digest too, because a version may be exported again."""

    _CAPACITY = 64

    def __init__(self) -> None:
        self._palettes: dict[tuple[ModelVersion, str], Palette] = {}

    def get(self, model: ModelVersion) -> Palette | None:
        """The palette, if it was kept."""
        return self._palettes.get((model, model.digest))

    def keep(self, model: ModelVersion, palette: Palette) -> Palette:
        """Keep the palette; the oldest one goes if there is no room."""
        while len(self._palettes) >= self._CAPACITY:
            self._palettes.pop(next(iter(self._palettes)), None)
        self._palettes[model, model.digest] = palette
        return palette
