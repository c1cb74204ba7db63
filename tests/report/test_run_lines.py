"""A run in a screenful."""

import re

from rich.console import Console

from traintime.recipe import read_recipe
from traintime.report.run_lines import run_lines


def run_of(epochs: int, events: int = 0) -> str:
    known = {
        "run": "20261120-120000-mnist-lenet",
        "folder": "/runs/20261120-120000-mnist-lenet",
        "recipe": read_recipe(data="mnist", model="lenet").model_dump(mode="json"),
        "epochs": [
            {"epoch": n, "elapsed_s": 2.0 * n, "validation_accuracy": 0.99 - abs(n - 300) / 1000}
            for n in range(1, epochs + 1)
        ],
        "changes": [],
        "events": [{"elapsed_s": float(n), "message": f"fault {n}."} for n in range(events)],
    }
    console = Console(width=140, color_system=None)
    with console.capture() as capture:
        console.print(run_lines(known))
    return capture.get()


def test_of_a_long_run_the_first_the_best_and_the_last_epochs_are_listed():
    text = run_of(500)
    assert re.findall(r"epoch (\d+)", text) == ["1", "2", "3", "300", "498", "499", "500"]
    assert re.search(r"epoch 300 .* accuracy 99.00 %  the best", text)
    assert "7 of 500 epochs; all of them: traintime runs show 20261120-120000-mnist-lenet" in text
    assert "--json" in text


def test_of_a_short_run_all_epochs_are_listed():
    text = run_of(12)
    assert re.findall(r"epoch (\d+)", text) == [str(n) for n in range(1, 13)]
    assert "--json" not in text


def test_a_run_is_shown_in_a_screenful_however_much_it_survived():
    text = run_of(5000, events=300)
    assert len(text.splitlines()) <= 24
    assert "fault 299." in text
    assert "8 of 300 events" in text
