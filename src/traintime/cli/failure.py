"""How an error looks: what was given, what was expected, what to type next; never a traceback."""

from __future__ import annotations

import json

import typer
from rich.text import Text

from traintime.cli.display import make_console
from traintime.errors import StoppedError, TraintimeError


def plain(text: str) -> str:
    """Return text whose control characters are written out: names in a file may hold any."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )


def show_failure(error: TraintimeError, *, as_json: bool) -> None:
    """Print an error to stderr, or as JSON to stdout."""
    if as_json:
        failure = {"error": type(error).__name__, "message": str(error)}
        typer.echo(json.dumps({**failure, "exit_code": error.exit_code}))
        return
    stopped = isinstance(error, StoppedError)
    text = Text("stopped  " if stopped else "error  ", "bold yellow" if stopped else "bold red")
    text.append(plain(str(error)), "not bold default")
    make_console(to_stderr=True).print(text, soft_wrap=True)  # a command must stay in one piece
