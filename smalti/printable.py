"""Makes foreign text safe to print in messages, logs and terminals."""

_LONGEST = 150  # characters of a foreign name in a message


def printable(text: str, *, longest: int = _LONGEST) -> str:
    """The text with unprintable characters escaped, cut after `longest` characters."""
    shown = escaped(text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def escaped(text: str) -> str:
    """The whole text with unprintable characters escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
