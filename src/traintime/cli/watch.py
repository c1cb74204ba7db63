"""Draws a run while it trains, over the whole terminal; in plain lines elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.live import Live

from traintime.api.runs import find_run
from traintime.api.watch import RunWatcher
from traintime.cli.display import make_console
from traintime.cli.keys import pressed_keys
from traintime.cli.output import print_json
from traintime.clock.run_state import RunState
from traintime.report.watch_view import result_line, watch_view

EVERY_S = 0.5
LEAVE = ("q", "Q", "\x1b", "\x03", "\x04")


def watch(run: str, *, once: bool, as_json: bool) -> None:
    """Show a run until it ends or the user leaves; once where nobody watches."""
    watcher = RunWatcher(find_run(run))
    state = watcher.look()
    if as_json:
        print_json(state.to_json())
        return
    console = make_console()
    if once or state.is_over or not console.is_terminal:
        console.print(watch_view(state, console.width))
    else:
        state = _follow(watcher, state, console)
    if state.is_over:
        console.print(result_line(state), soft_wrap=True)
    elif console.is_terminal and not once:
        console.print(f"The run goes on. See it again with: traintime runs watch {state.run}")


def _follow(watcher: RunWatcher, state: RunState, console: Console) -> RunState:
    """Draw the run until it ends or a key says to leave; return it as it was last seen."""
    with _ended_by_signals(), pressed_keys() as wait, _screen(console) as live:
        try:
            while True:
                live.update(watch_view(state, console.width, console.height), refresh=True)
                if state.is_over or wait(EVERY_S) in LEAVE:
                    break
                state = watcher.look()
        except KeyboardInterrupt:  # Ctrl-C leaves the screen, not the run
            pass
    if state.is_over:
        console.print(watch_view(state, console.width))
    return state


def _screen(console: Console) -> Live:
    return Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop")


@contextmanager
def _ended_by_signals() -> Generator[None]:
    """Let SIGTERM and a closed terminal end this as Ctrl-C does, so that the screen is restored."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
