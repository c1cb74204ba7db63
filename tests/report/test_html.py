"""The page of a run: complete, self-contained, and good where parts of the run are missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.synthetic_result import result
from tests.report.synthetic_run import (
    recipe,
    steps,
    write_killed_run,
    write_run,
    write_run_without_target,
)
from traintime.errors import RunFolderError
from traintime.report.html import as_script_json, render_report
from traintime.report.page.comparison import compare
from traintime.report.page.run_files import read_run_files


@pytest.fixture
def page(tmp_path: Path) -> str:
    return render_report(write_run(tmp_path))


def text_of(page: str) -> str:
    """Return what a reader sees: no scripts, no styles, no tags."""
    visible = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", visible)).replace("\u00a0", " ")


def test_the_page_tells_the_run_from_the_headline_to_the_command(page: str) -> None:
    text = text_of(page)
    parts = [
        "LeNet on MNIST to 99 % accuracy",
        "Reached 99 % accuracy on the validation data after 18.4 s",
        "Forecast against fact",
        "Learning curves",
        "as it moved",
        "Time by stage",
        "Where a step goes",
        "On the test set",
        "What was taken for what",
        "Some of its mistakes",
        "How it was done",
        "traintime train",
        "Produced by traintime 0.1.0",
    ]
    places = [text.index(part, text.index("Training run")) for part in parts]
    assert places == sorted(places)


def test_the_page_fetches_nothing(page: str) -> None:
    sources = re.findall(r"""\b(?:src|href|srcset|action|poster)\s*=\s*["']?([^"'\s>]*)""", page)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(
        r"@import|url\(|\bimport\s*\(|fetch\(|XMLHttpRequest|<link[^>]+stylesheet", page
    )
    assert "default-src 'none'" in page


def test_the_page_is_small_even_for_a_long_run(tmp_path: Path) -> None:
    first = steps()[0]
    records = [{**first, "step": step, "elapsed_s": step / 50} for step in range(1, 50_001)]
    page = render_report(write_run(tmp_path, steps=records))
    assert len(page.encode()) < 300_000


def test_the_page_depends_on_nothing_but_the_files(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    assert render_report(folder) == render_report(folder)


def test_rendering_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, traintime.report.html; sys.exit(bool({'torch', 'numpy'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_a_malicious_class_name_stays_text(tmp_path: Path, name: str) -> None:
    finished = result()
    finished["test"]["per_class"][3]["class"] = name
    finished["wrong"][0] |= {"truth": name, "png": f"AAAA{name}"}
    page = render_report(write_run(tmp_path, result=finished))
    assert name not in page
    assert "&lt;" in page


def test_a_target_cannot_end_the_script_element() -> None:
    assert as_script_json({"label": "</script><!--"}) == r'{"label":"\u003c/script>\u003c!--"}'


def test_a_loss_that_is_no_number_leaves_a_gap(tmp_path: Path) -> None:
    records = [{**record, "loss": float("nan")} for record in steps()]
    data = re.search(
        r'id="chart-data">(.*?)</script>', render_report(write_run(tmp_path, steps=records))
    )
    assert data
    assert set(json.loads(data[1])["steps"]["loss"]) == {None}


def test_a_killed_run_says_how_to_go_on(tmp_path: Path) -> None:
    text = text_of(render_report(write_killed_run(tmp_path / "20251120-080000-mnist-lenet")))
    assert "20 November 2025, 08:00" in text
    assert "Not finished: the record ends after 1 epoch and 8.8 s" in text
    assert "traintime runs resume 20251120-080000-mnist-lenet" in text
    assert "On the test set" not in text


def test_early_stopping_is_not_held_against_the_forecast_of_the_whole(tmp_path: Path) -> None:
    ended = result() | {"status": "stopped early", "total_s": 9.1, "time_to_target_s": None}
    folder = write_run(tmp_path, result=ended)
    comparison = compare(read_run_files(folder))
    assert comparison
    judged = [row.label for row in comparison.rows if row.is_judged]
    assert judged == ["Prepare data", "Evaluate", "One step", "Peak memory"]
    text = text_of(render_report(folder))
    assert "Stopped early after 4 epochs and 9.1 s" in text
    assert "runs resume" not in text


def test_a_run_without_target_or_estimates_has_no_place_for_them(tmp_path: Path) -> None:
    text = text_of(render_report(write_run_without_target(tmp_path)))
    assert "LeNet on MNIST, 4 epochs" in text
    assert "Trained 4 epochs in 19.6 s" in text
    assert "To the target" not in text
    assert "as it moved" not in text


def test_a_missed_target_is_said(tmp_path: Path) -> None:
    missed = result() | {"status": "finished", "time_to_target_s": None}
    text = text_of(render_report(write_run(tmp_path, result=missed)))
    assert "Trained 4 epochs without reaching 99 % accuracy on the validation data" in text
    assert "not reached" in text


@pytest.mark.parametrize(
    "missing", ["format", "environment", "forecast", "steps", "epochs", "eta", "result"]
)
def test_every_file_but_the_recipe_may_be_missing(tmp_path: Path, missing: str) -> None:
    page = render_report(write_run(tmp_path, **{missing: None}))
    assert "LeNet on MNIST to 99 % accuracy" in text_of(page)


def test_a_folder_with_nothing_but_a_recipe_still_gives_a_page(tmp_path: Path) -> None:
    names = ["format", "environment", "forecast", "steps", "epochs", "eta", "result"]
    text = text_of(render_report(write_run(tmp_path, **dict.fromkeys(names))))
    assert "Not finished: nothing is recorded yet" in text


def test_a_score_on_watched_test_data_is_called_biased(tmp_path: Path) -> None:
    page = render_report(write_run(tmp_path, recipe=recipe(validate_on="test")))
    assert "no unbiased estimate" in page


def test_a_folder_without_recipe_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"holds no recipe\.yaml"):
        render_report(tmp_path)


def test_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="pip install --upgrade"):
        render_report(write_run(tmp_path, format={"format": 2, "traintime": "9.0"}))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (write_run(tmp_path) / "forecast.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"forecast\.json"):
        render_report(tmp_path)


def test_many_classes_are_listed_instead_of_a_matrix(tmp_path: Path) -> None:
    finished = result()
    counts = [[50 if i == j else int(j == 0) for j in range(40)] for i in range(40)]
    finished["test"] |= {"confusion": counts, "per_class": []}
    page = render_report(write_run(tmp_path, result=finished))
    assert '<table class="confusion' not in page
    assert "39 mistakes in all" in text_of(page)
