"""The commands that steer a run while it is trained, from any shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from traintime.cli.running import Json, run_verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from traintime.api.steer import Steered
    from traintime.recipe.steering import Verb

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name or path; 'latest' is the newest.")
]
Words = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="What to change.")]
NOTHING_TAKEN = {"pause": "paused", "continue": "goes on", "save": "saved", "stop": "stopped"}
ALREADY_SO = {"pause": "is paused already", "continue": "was not paused, so it goes on"}


def runs_set(run: RunName, words: Words = None, as_json: Json = False) -> None:
    """Change a run while it is trained: lr=0.01, target=accuracy:0.99, epochs=20 and more."""
    run_verb(lambda: _steer(run, "set", words or [], as_json=as_json), as_json)


def runs_extend(run: RunName, words: Words = None, as_json: Json = False) -> None:
    """Let a run go on for longer: epochs=5 more, or a budget of 10m more."""
    run_verb(lambda: _steer(run, "extend", words or [], as_json=as_json), as_json)


def runs_pause(run: RunName = "latest", as_json: Json = False) -> None:
    """Save a run and let it wait, until `continue`; its memory stays taken."""
    run_verb(lambda: _steer(run, "pause", [], as_json=as_json), as_json)


def runs_continue(run: RunName = "latest", as_json: Json = False) -> None:
    """Let a run that was paused go on."""
    run_verb(lambda: _steer(run, "continue", [], as_json=as_json), as_json)


def runs_save(run: RunName = "latest", as_json: Json = False) -> None:
    """Save a checkpoint of a run now."""
    run_verb(lambda: _steer(run, "save", [], as_json=as_json), as_json)


def runs_stop(run: RunName = "latest", as_json: Json = False) -> None:
    """Save a run and end its process; `traintime runs resume` goes on with it."""
    run_verb(lambda: _steer(run, "stop", [], as_json=as_json), as_json)


def _steer(run: str, verb: Verb, words: Sequence[str], *, as_json: bool) -> None:
    from traintime.api.steer import steer_run
    from traintime.cli.display import make_console
    from traintime.cli.output import print_json
    from traintime.recipe.parse import read_fields

    steered = steer_run(run, verb, **read_fields(words))
    if as_json:
        print_json(steered.to_json())
    else:
        make_console().print(_in_words(steered), soft_wrap=True)


def _in_words(steered: Steered) -> Text:
    """Return what came of a command: 'lr 0.02 → 0.01 from step 1,234 of RUN'."""
    from rich.text import Text

    from traintime.recipe.steering import in_words

    if steered.state == "already so":
        return Text(ALREADY_SO[steered.verb], "bold cyan").append(
            f" · {steered.run}", "not bold dim"
        )
    changes = steered.change.changes if steered.change else steered.changes
    what = in_words(changes) or NOTHING_TAKEN.get(steered.verb, "nothing changed")
    if steered.change:
        when = f"{'from' if changes else 'at'} step {steered.change.step:,}"
    elif steered.state == "waiting":
        when = "as soon as the step is done that is being computed"
    else:
        when = f"when it goes on: traintime runs resume {steered.run}"
    line = Text(what, "bold cyan")
    return line.append(f" {when}", "not bold default").append(f" · {steered.run}", "dim")
