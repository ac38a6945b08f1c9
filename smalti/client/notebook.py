"""How notebooks show values: HTML with all text escaped."""

from base64 import b64encode
from html import escape

from PIL import Image as pillow

from smalti import media

_BAR = (300, 10)  # width and height of a bar, screen pixels


def picture(png: bytes, words: str) -> str:
    """An HTML image with sharp pixels; `words` is its alternative text."""
    data = b64encode(png).decode()
    return (
        f'<img src="data:image/png;base64,{data}" alt="{escape(words)}" style="image-rendering: pixelated">'
    )


def figure(png: bytes | None, words: str) -> str:
    """The picture, if there is one, above its caption."""
    shown = picture(png, words) if png else ""
    return f"<figure>{shown}<figcaption>{escape(words)}</figcaption></figure>"


def bar(done: int, failed: int, count: int) -> bytes:
    """A progress bar as PNG: done is green, failed red, the rest grey."""
    canvas = pillow.new("RGB", _BAR, "#d0d0d0")
    reached, ended = (round(_BAR[0] * part / max(1, count)) for part in (done, done + failed))
    canvas.paste("#2e9e4f", (0, 0, reached, _BAR[1]))
    canvas.paste("#c0392b", (reached, 0, ended, _BAR[1]))
    return media.encode(canvas)
