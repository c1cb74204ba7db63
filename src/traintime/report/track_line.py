"""The lines that show how far a tracked loop is."""

from __future__ import annotations

from rich.text import Text

from traintime.clock.eta import Eta, remaining
from traintime.clock.loop_clock import LoopClock
from traintime.report.rows import progress_bar
from traintime.report.terminal import eta_to_target, format_left
from traintime.units import format_duration, format_percent


def track_line(clock: LoopClock, eta: Eta | None, waited: float, width: int = 24) -> Text:
    """Return one line: bar, where the loop is, speed, what is left.

    Args:
        clock: Of the loop.
        eta: As the clock has it now.
        waited: Share of the time that was spent waiting for batches.
        width: Of the bar.
    """
    line = Text()
    if clock.steps_per_epoch:
        done = clock.done / clock.epochs
        line.append_text(progress_bar(done, width)).append(f" {format_percent(done, 0)}", "bold")
    line.append(f"  epoch {min(clock.epoch + 1, clock.epochs)}/{clock.epochs}")
    of = f"/{clock.steps_per_epoch:,}" if clock.steps_per_epoch else ""
    is_over = clock.epoch >= clock.epochs  # then no step of another epoch is to come
    step = clock.steps_per_epoch if is_over and clock.steps_per_epoch else clock.step
    line.append(f"  step {step:,}{of}")
    if clock.step_s:
        line.append(f"  {format_duration(clock.step_s)} a step", "dim")
    if waited >= 0.1:
        line.append(f", {format_percent(waited, 0)} waiting for data", "yellow")
    if eta is None:
        return line.append("  ...", "dim")
    if eta.chance_of_target is not None:
        line.append("  to target ").append(eta_to_target(eta), "bold")
    line.append("  to the end ").append(format_left(remaining(eta.finish_s, eta.elapsed_s)), "bold")
    return line
