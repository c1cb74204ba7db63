"""The clock for any training loop: `for batch in traintime.track(loader, epochs=10)`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import nullcontext, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from traintime.clock.eta import Eta
from traintime.clock.loop_clock import LoopClock
from traintime.clock.watched import Watched
from traintime.errors import InputError
from traintime.recipe.recipe import parse_target

if TYPE_CHECKING:
    from rich.live import Live

Batch = TypeVar("Batch")

DRAW_EVERY_S = 0.2
PRINT_EVERY_S = 10.0
METRICS = ("accuracy", "loss")


def track(
    loader: Iterable[Batch],
    /,
    *,
    epochs: int = 1,
    steps_per_epoch: int | None = None,
    first_epoch: int = 0,
    target: str | None = None,
    show: bool = True,
) -> Tracker[Batch]:
    """Go over a loader's batches, epoch after epoch, and say when that will end.

    The line shows time to the end with its 80 % interval, and to the target where the loop tells
    its metric: `tracker.log(accuracy=...)` after the last batch of an epoch
    (`tracker.ends_epoch`). What passes between epochs, such as a validation, is foreseen too.

    Args:
        loader: Gives the batches of one epoch each time it is gone over.
        epochs: How often.
        steps_per_epoch: Batches of an epoch, for a loader that has no length.
        first_epoch: Epochs that an earlier process did, which are not gone over again.
        target: What is to be reached, such as "accuracy:0.9" or "loss:0.5"; the loop goes on.
        show: Whether the line is drawn (on a terminal) or printed now and then (elsewhere).

    Raises:
        InputError: A number is impossible, or the target is none.
    """
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise InputError(
            f"track() goes over batches, and a {type(loader).__name__} ({loader!r}) holds none. "
            "Give it a list or a DataLoader: track(loader, epochs=10)"
        )
    for name, count in (("epochs", epochs), ("first_epoch", first_epoch)):
        if not isinstance(count, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"{name}={count!r} is no whole number; write for example track(loader, epochs=10)"
            )
    if not isinstance(target, str | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"target={target!r} names no metric; write for example target='accuracy:0.9'"
        )
    if epochs < 1 or not 0 <= first_epoch < epochs:
        raise InputError(
            f"epochs={epochs} with first_epoch={first_epoch} leaves nothing to do; write for "
            "example track(loader, epochs=10)"
        )
    if steps_per_epoch is not None and steps_per_epoch < 1:
        raise InputError(f"An epoch has at least 1 step, not steps_per_epoch={steps_per_epoch}")
    if epochs - first_epoch > 1 and iter(loader) is loader:
        raise InputError(
            f"{epochs - first_epoch} epochs were asked for, and a {type(loader).__name__} can be "
            "gone over once. Give track() a list or a DataLoader, or epochs=1"
        )
    if steps_per_epoch is None and isinstance(loader, Sized):
        with suppress(TypeError):  # a DataLoader of an iterable data set has no length after all
            steps_per_epoch = len(loader) or None
    goal = parse_target(target) if target else None
    watched = Watched(goal.metric, goal.value) if goal else None
    return Tracker(loader, LoopClock(epochs, steps_per_epoch, first_epoch, watched), show=show)


class Tracker(Generic[Batch]):
    """A loop over batches that knows when it will end.

    Args:
        loader: Gives the batches of an epoch.
        clock: Follows the loop.
        show: Whether a line is drawn or printed.
    """

    def __init__(self, loader: Iterable[Batch], clock: LoopClock, *, show: bool) -> None:
        self.clock = clock
        self._loader, self._show = loader, show
        self._yielded_at = 0.0
        self._waited_s = 0.0
        self._drawn_at = perf_counter()
        self._live: Live | None = None

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.clock.epoch

    @property
    def ends_epoch(self) -> bool:
        """Whether the batch that is worked on is the last of its epoch.

        Not known in the first epoch of a loader without a length; give `steps_per_epoch`.
        """
        return self.clock.step + 1 == self.clock.steps_per_epoch

    @property
    def eta(self) -> Eta | None:
        """What is known of the end; None before the second step."""
        return self.clock.eta(perf_counter() - self._yielded_at if self._yielded_at else 0.0)

    def log(self, **metrics: float) -> None:
        """Tell the metric of this epoch, once an epoch: `log(accuracy=0.93)`.

        Raises:
            InputError: A metric of another name, or one that is no number.
        """
        for name, value in metrics.items():
            if name not in METRICS:
                raise InputError(
                    f"The clock knows accuracy (the larger, the better) and loss (the smaller), "
                    f"and not '{name}'. Write for example log(loss=...)"
                )
            number = _number(name, value)
            if name == "accuracy" and not 0 <= number <= 1:
                raise InputError(
                    f"Accuracy is a share between 0 and 1, not {number:g}. Write for example "
                    f"log(accuracy={number / 100 if number > 1 else 0.9:g})"
                )
            if self.clock.watched is None:
                self.clock.watched = Watched("accuracy" if name == "accuracy" else "loss")
            if name == self.clock.watched.metric:
                self.clock.on_metric(number)

    def __iter__(self) -> Iterator[Batch]:
        with self._drawing():
            began_at = perf_counter()
            while self.clock.epoch < self.clock.epochs:
                yield from self._one_epoch(began_at)
                if self.clock.epoch + 1 == self.clock.epochs:
                    self.clock.on_boundary(perf_counter() - self._yielded_at)
            self._yielded_at = 0.0
            self._draw(perf_counter(), last=True)

    def _one_epoch(self, began_at: float) -> Iterator[Batch]:
        """Yield the batches of an epoch; a step lasts until the next batch is there."""
        asked_at = perf_counter()
        epoch = self.clock.epoch + (2 if self._yielded_at else 1)
        is_first = True
        for batch in self._loader:
            now = perf_counter()
            self._waited_s += now - asked_at
            if not self._yielded_at:
                self.clock.elapsed_s += now - began_at
            elif is_first:
                self.clock.on_boundary(now - self._yielded_at)
            else:
                self.clock.on_step(now - self._yielded_at)
            self._yielded_at, is_first = now, False
            self._draw(now)
            yield batch
            asked_at = perf_counter()
        if is_first:
            raise InputError(
                f"The loader gave no batch in epoch {epoch}. Give track() something "
                "that can be gone over again, such as a list or a DataLoader, and no iterator"
            )

    # The line

    def _drawing(self) -> Any:
        if not self._show:
            return nullcontext()
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        if not console.is_terminal:
            return nullcontext()
        # What the loop prints belongs to where its output goes, which need not be this terminal.
        redirects = sys.stdout.isatty()
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=redirects)
        return self._live

    def _draw(self, now: float, *, last: bool = False) -> None:
        every_s = DRAW_EVERY_S if self._live else PRINT_EVERY_S
        if not self._show or (now - self._drawn_at < every_s and not last):
            return
        from rich.console import Console

        from traintime.report.track_line import track_line

        self._drawn_at = now
        waited = self._waited_s / max(self.clock.elapsed_s, 1e-9)
        line = track_line(self.clock, self.clock.eta(), waited)
        if self._live:
            self._live.update(line, refresh=True)
        else:
            Console(stderr=True, highlight=False, width=140).print(line)


def _number(name: str, value: object) -> float:
    """Return a metric as a number; a tensor of one value is one.

    Raises:
        InputError: It is none.
    """
    try:
        if isinstance(value, str):
            raise ValueError
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{name} is a number, not {value!r} ({type(value).__name__}). Write for example "
            f"log({name}=0.9)"
        ) from None
