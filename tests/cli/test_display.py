import io

import pytest
from rich.console import Console

import traintime
from tests.api.known_machine import QUICK
from traintime.cli.display import Display, make_console
from traintime.cli.failure import plain
from traintime.cli.progress import PlainProgress
from traintime.clock.eta import Clock
from traintime.errors import DivergedError
from traintime.recipe import read_recipe
from traintime.report import terminal as terminal_lines
from traintime.train.records import EpochRecord

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=40)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_terminal_gets_live_lines_and_its_cursor_back(terminal: Console) -> None:
    display = Display(terminal)
    assert display.is_live
    traintime.train(**QUICK, listener=display)
    display.close()
    text = printed(terminal)
    assert text.count(HIDE_CURSOR) == text.count(SHOW_CURSOR) >= 1
    assert "epoch 2/2" in text


def test_terminal_gets_its_cursor_back_when_training_fails(terminal: Console) -> None:
    display = Display(terminal)
    with pytest.raises(DivergedError):
        traintime.train(**QUICK, optimizer="sgd", lr=1e9, warmup=0.0, listener=display)
    display.close()
    assert printed(terminal).rfind(SHOW_CURSOR) > printed(terminal).rfind(HIDE_CURSOR) >= 0


def test_ci_is_never_live(terminal: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert not Display(terminal).is_live


def test_measuring_is_said_once_where_nothing_is_live() -> None:
    console = Console(file=io.StringIO(), width=140)
    display = Display(console)
    for share in (0.0, 0.3, 0.9, 1.0):
        display.on_measuring("something", share)
    assert printed(console).count("\n") == 1


def test_measuring_is_a_bar_in_a_terminal_and_leaves_nothing(terminal: Console) -> None:
    display = Display(terminal)
    display.on_measuring("matrix products", 0.5)
    display.on_measuring("done", 1.0)
    assert "matrix products" in printed(terminal)
    assert printed(terminal).count(SHOW_CURSOR) == 1


def test_why_nothing_is_seen_yet_is_said_for_a_moment(terminal: Console) -> None:
    display = Display(terminal)
    display.on_preparing(read_recipe(["data=digits", "model=mlp"]))
    assert "reading digits, trying a few steps of mlp" in printed(terminal)
    display.close()
    assert printed(terminal).count(HIDE_CURSOR) == printed(terminal).count(SHOW_CURSOR) == 1


def test_a_forecast_that_was_put_right_is_said_with_why() -> None:
    console = Console(file=io.StringIO(), width=140)
    forecast = traintime.train(**QUICK | {"epochs": 6}).forecast
    Display(console).on_trial(forecast)
    assert "run on this machine" in printed(console)
    assert "steps were tried right before" in printed(console)


def test_an_error_cannot_draw_on_the_terminal() -> None:
    assert plain("a\x1b[31mb\nc é") == "a\\x1b[31mb\nc é"


def test_only_an_epoch_better_than_all_before_is_marked(
    terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[bool] = []
    line = terminal_lines.epoch_line
    monkeypatch.setattr(
        terminal_lines,
        "epoch_line",
        lambda recipe, record, best: marked.append(best) or line(recipe, record, best),
    )
    recipe = read_recipe(**QUICK)
    clock = Clock(recipe, traintime.forecast(recipe))
    display = Display(terminal)
    (progress,) = display.observers(recipe, clock)
    for epoch, accuracy in enumerate((0.5, 0.9, 0.6, 0.7, 0.95), 1):
        progress.on_epoch(EpochRecord(epoch, epoch, 1.0, 1.0, accuracy, 100.0, float(epoch)))
    display.close()
    assert marked == [True, True, False, False, True]


def test_log_gets_plain_progress_of_a_fixed_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    console = make_console()
    assert (console.is_terminal, console.width) == (False, 140)
    display = Display(console)
    recipe = read_recipe(**QUICK)
    (progress,) = display.observers(recipe, Clock(recipe, traintime.forecast(recipe)))
    assert isinstance(progress, PlainProgress)
