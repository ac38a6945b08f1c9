"""The reference of the command `smalti`: what `--help` prints for each of its commands."""

import click

from docs.pages.tables import code, table
from smalti.cli.main import main

_PAGE = """# The command smalti

This is what `smalti COMMAND --help` prints. [The command line](../command-line.md) tells about files, scales, `--json`
and exit codes.

"""
_NAME = "smalti"


def page() -> str:
    """The command itself, a table of its commands, then each of them."""
    commands = [(name, main.commands[name]) for name in main.list_commands(click.Context(main))]
    lines = (
        (f"[{code(name)}](#{_NAME}-{name})", command.get_short_help_str(100)) for name, command in commands
    )
    sections = [_section(f"{_NAME} {name}", command) for name, command in commands]
    return _PAGE + "\n\n".join([table(("command", "does"), lines), _section(_NAME, main), *sections]) + "\n"


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, terminal_width=90, **command.context_settings)
    return f"## {name}\n\n```text\n{command.get_help(context)}\n```"
