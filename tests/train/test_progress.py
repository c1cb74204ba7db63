import json

import pytest

from traintime.train.progress import Progress
from traintime.train.records import Validation

from .jobs import recipe_of


def test_progress_survives_json_exactly() -> None:
    progress = Progress(step=7, epoch=1, position=2, elapsed_s=0.1 + 0.2, loss_sum=1 / 3, best=-0.7)
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress


def test_first_validation_is_the_best_so_far() -> None:
    for monitor in ("accuracy", "loss"):
        progress = Progress()
        assert progress.improves(recipe_of(monitor=monitor, patience=1), Validation(5.0, 0.0))


def test_equal_value_is_no_improvement() -> None:
    progress, recipe = Progress(), recipe_of(patience=1)
    progress.improves(recipe, Validation(1.0, 0.5))
    assert not progress.improves(recipe, Validation(0.1, 0.5))
    assert progress.stale_epochs == 1


@pytest.mark.parametrize(("loss", "improves"), [(0.95, False), (0.89, True), (1.5, False)])
def test_loss_improves_downwards_by_the_least_change(loss: float, improves: bool) -> None:
    progress, recipe = Progress(), recipe_of(monitor="loss", min_delta=0.1, patience=3)
    progress.improves(recipe, Validation(1.0, 0.5))
    assert progress.improves(recipe, Validation(loss, 0.1)) is improves


def test_target_wins_over_early_stopping_and_the_last_epoch() -> None:
    recipe = recipe_of(target="accuracy:0.9", patience=1, epochs=3)
    progress = Progress(epoch=3, stale_epochs=1, elapsed_s=4.5)
    progress.decide_end(recipe, Validation(1.0, 0.9), is_over=True)
    assert (progress.status, progress.time_to_target_s) == ("target reached", 4.5)


def test_patience_zero_never_stops_early() -> None:
    progress = Progress(epoch=2, stale_epochs=50)
    progress.decide_end(recipe_of(), Validation(1.0, 0.1), is_over=False)
    assert progress.status == "running"
    progress.decide_end(recipe_of(), Validation(1.0, 0.1), is_over=True)
    assert progress.status == "finished"
