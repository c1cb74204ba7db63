"""What every command shares: the option --json, and how an error ends a verb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


RESUME = "`traintime runs list` shows what can be resumed"


def run_verb(verb: Callable[[], Any], as_json: bool, *, runs: bool = False) -> None:
    """Call a verb; an error that was raised on purpose becomes a message and an exit code.

    Args:
        verb: Is called.
        as_json: Whether an error is told as JSON.
        runs: Whether it trains: then what it leaves is a run, else what it prints.
    """
    from traintime.errors import StoppedError, TraintimeError

    try:
        verb()
    except TraintimeError as error:
        from traintime.cli.failure import show_failure

        show_failure(error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:  # before or after training, which saves and explains itself
        from traintime.cli.failure import show_failure

        said = f"Stopped. {RESUME}" if runs else "Stopped before it had an answer"
        show_failure(StoppedError(2, said), as_json=as_json)
        raise typer.Exit(130) from None
    if not runs:
        _check_output()


def _check_output() -> None:
    """End with an error, if not all of the answer could be written."""
    from traintime.cli.audience import check_output
    from traintime.errors import StorageError

    try:
        check_output()
    except StorageError as error:
        from traintime.cli.failure import show_failure

        show_failure(error, as_json=False)  # standard output takes nothing any more
        raise typer.Exit(error.exit_code) from None
