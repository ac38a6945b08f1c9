"""Makes the console that prints tables."""

from rich.console import Console

WIDTH = 140  # without a terminal


def for_tables() -> Console:
    """A console of the terminal's width, or wide enough for all tables if there is no terminal."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=WIDTH)
