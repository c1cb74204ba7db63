"""What every command shares: the option --json, and how an error ends a verb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def run_verb(verb: Callable[[], Any], as_json: bool) -> None:
    """Call a verb; an error that was raised on purpose becomes a message and an exit code."""
    from traintime.errors import StoppedError, TraintimeError

    try:
        verb()
    except TraintimeError as error:
        from traintime.cli.failure import show_failure

        show_failure(error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:  # before or after training, which saves and explains itself
        from traintime.cli.failure import show_failure

        show_failure(
            StoppedError(2, "Stopped. `traintime runs list` shows what can be resumed"),
            as_json=as_json,
        )
        raise typer.Exit(130) from None
