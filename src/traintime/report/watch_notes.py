"""What stands below the figures of a watched run: warnings, changes, events, and the commands."""

from __future__ import annotations

from rich.text import Text

from traintime.clock.run_state import Record, RunState
from traintime.recipe.steering import change_in_words
from traintime.report.terminal_plot import MARK, NUMBERS
from traintime.report.watch_charts import marked_changes
from traintime.report.watch_lines import DIM, fitted, rule, wrapped
from traintime.units import format_duration

MOST_NOTES = 8
INDENT = 2
WHEN = 10


def note_lines(state: RunState, width: int) -> list[Text]:
    """Return warnings with what to do, then what was changed and what happened, newest first."""
    lines = [
        line
        for warning in state.warnings
        for line in _warning(warning.found, warning.advice, width)
    ]
    happened = _happened(state)
    if happened:
        lines.append(rule(Text().append("changes and events", "bold"), width))
        lines += [fitted(line, width) for line in happened]
    return lines


def _warning(found: str, advice: str, width: int) -> list[Text]:
    line = Text().append("▲ ", "bold yellow").append(found, "yellow").append(f" {advice}.")
    return wrapped(line, width, INDENT)


def _happened(state: RunState) -> list[Text]:
    numbers = {id(change): number for number, change in marked_changes(state.changes).items()}
    notes = [
        (float(c.get("elapsed_s") or 0.0), _change(c, numbers.get(id(c)))) for c in state.changes
    ]
    notes += [(float(e.get("elapsed_s") or 0.0), _event(e)) for e in state.events]
    notes.sort(key=lambda note: -note[0])
    return [
        Text().append(f"{format_duration(round(at)):>{WHEN}}  ", DIM).append_text(words)
        for at, words in notes[:MOST_NOTES]
    ]


def _change(change: Record, number: int | None) -> Text:
    mark = Text().append(f"{NUMBERS[number - 1]} " if number else "  ", f"bold {MARK}")
    by = str(change.get("by", ""))
    return mark.append(change_in_words(change)).append(f"  {by}" if by else "", DIM)


def _event(event: Record) -> Text:
    line = Text().append("! ", "bold yellow").append(str(event.get("kind", "")), "yellow")
    return line.append(f"  {event.get('message', '')}")


def footer(state: RunState, width: int) -> list[Text]:
    """Return how to leave, and how to steer the run."""
    line = Text().append(" q ", "reverse").append(" leave, the run goes on  ")
    verbs = "traintime runs set | pause | continue | save | stop | extend"
    line.append(f"{verbs} {state.run}", DIM)
    if line.cell_len > width:
        line.right_crop(len(state.run))
        line.append("RUN", DIM)
    return [fitted(line, width)]
