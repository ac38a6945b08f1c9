"""Makes text from outside safe to print: in sentences, in logs, in a terminal."""

_LONGEST = 150  # characters of a foreign name in a sentence


def printable(text: str, *, longest: int = _LONGEST) -> str:
    """The text with everything that has no glyph escaped, cut off after `longest` characters."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
