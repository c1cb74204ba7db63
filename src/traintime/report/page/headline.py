"""What was trained, and in one sentence how it went."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePath

from traintime.recipe.budget import parse_budget
from traintime.recipe.recipe import Target
from traintime.report.page.run_files import Record, RunFiles, interval
from traintime.units import format_duration, format_interval, format_percent

PROPER_NAMES = {
    "mlp": "MLP",
    "lenet": "LeNet",
    "resnet9": "ResNet-9",
    "resnet18": "ResNet-18",
    "vgg11": "VGG-11",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "digits": "Digits",
}


@dataclass(frozen=True)
class Headline:
    """The head of the page and its last line."""

    title: str
    status: str
    sentence: str
    date: str
    date_iso: str
    reproduce: str
    resume: str | None


def headline(run: RunFiles) -> Headline:
    """Return what the top and the foot of the page say."""
    folder = run.folder.resolve()
    name, recipe = folder.name, f"{folder.parent.name}/{folder.name}/recipe.yaml"
    return Headline(
        title=_title(run),
        status=str(run.result.get("status") or "not finished"),
        sentence=_sentence(run),
        date=f"{run.started.day} {run.started:%B %Y, %H:%M %Z}".strip(),
        date_iso=run.started.isoformat(),
        reproduce=f"traintime train {shlex.quote(recipe)}",
        resume=None if run.has_ended else f"traintime runs resume {shlex.quote(name)}",
    )


def describe_goal(goal: Target) -> str:
    """Return a target in words: '99 % accuracy', 'a loss of 0.1'."""
    if goal.metric == "accuracy":
        return f"{goal.value * 100:g} % accuracy"
    return f"a loss of {goal.value:g}"


def count_of(number: int, noun: str) -> str:
    """Return '1 epoch', '4 epochs', '10,000 samples'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def digits_of_share(samples: int) -> int:
    """Return how many digits of a percentage mean something when so many samples were counted."""
    return 2 if samples >= 5000 else 1


def _title(run: RunFiles) -> str:
    what = f"{_proper_name(run, 'model')} on {_proper_name(run, 'data')}"
    if run.goal:
        return f"{what} to {describe_goal(run.goal)}"
    budget = run.recipe.get("budget")
    if budget:
        return f"{what} {parse_budget(str(budget)).in_words()}"
    epochs = run.recipe.get("epochs")
    return f"{what}, {count_of(epochs, 'epoch')}" if epochs else what


def _proper_name(run: RunFiles, field: str) -> str:
    name = str(run.recipe.get(field, f"unknown {field}"))
    return PROPER_NAMES.get(name, PurePath(name).name)


def _sentence(run: RunFiles) -> str:
    return f"{_outcome(run)}{_against_forecast(run)}.{_test_score(run.result.get('test'))}"


def _outcome(run: RunFiles) -> str:
    took = format_duration(run.elapsed_s)
    epochs = count_of(int(run.result.get("epochs") or len(run.epochs)), "epoch")
    to_target = run.result.get("time_to_target_s")
    if run.goal and to_target is not None:
        reached = f"Reached {_watched_goal(run, run.goal)} after {format_duration(to_target)}"
        return f"{reached}; the whole run of {epochs} took {took}"
    if not run.elapsed_s:
        return "Not finished: nothing is recorded yet"
    if not run.did_all:
        verb = "Stopped early" if run.has_ended else "Not finished: the record ends"
        reason = f", as {run.result['reason']}" if run.result.get("reason") else ""
        return f"{verb} after {epochs} and {took}{reason}"
    missed = f" without reaching {_watched_goal(run, run.goal)}" if run.goal else ""
    return f"Trained {epochs}{missed} in {took}"


def _watched_goal(run: RunFiles, goal: Target) -> str:
    return f"{describe_goal(goal)} on the {run.recipe.get('validate_on', 'validation')} data"


def _against_forecast(run: RunFiles) -> str:
    expected = interval(run.forecast.get("total_s"))
    if expected is None:
        return ""
    of = "" if run.did_all else " for the whole run"
    when = " before it was changed" if run.was_changed else ""
    return f", where {format_interval(expected)} was forecast{of}{when}"


def _test_score(test: Record | None) -> str:
    if not test or test.get("accuracy") is None:
        return ""
    digits = digits_of_share(int(test.get("samples") or 0))
    return f" Test accuracy: {format_percent(test['accuracy'], digits)}."
