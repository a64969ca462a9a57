"""The application that every command joins, how a person reads it, and how it fails."""

import sys

import typer
from rich.console import Console

from carryflow.core.errors import CarryflowError

app = typer.Typer(
    help="Learn, prove, serve and trade the crypto funding carry.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
"""Bound to the terminal itself: a step's output is redirected to the log, what a person sees is not."""


def group(name: str, about: str) -> typer.Typer:
    """Add a group of commands, such as `carryflow data …`, and return it."""
    commands = typer.Typer(help=about, no_args_is_help=True)
    app.add_typer(commands, name=name)
    return commands


def main() -> None:
    """Run the command line; a known problem is one line on standard error and exit code 1."""
    try:
        app()
    except CarryflowError as error:
        Console(stderr=True, highlight=False).print(
            f"error: {error}", style="red", markup=False, soft_wrap=True
        )
        sys.exit(1)
