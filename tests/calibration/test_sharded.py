import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

import sharded as calibration
from large_model_rows import LargeRow
from large_models import answer
from traintime.forecast.data_parallel import exchange_parameters

ROW = LargeRow(
    source="llm-foundry",
    model="llama-2-7b",
    parameters=6_738_415_616,
    length=4096,
    device="h100-sxm5-80gb",
    num_devices=8,
    micro_batch=1,
    accumulate=1,
    precision="amp",
    sharding="full",
    recompute=False,
    compiled=False,
    seconds=1.0,
)


def forecast_s(row: LargeRow) -> float:
    return answer(row).forecast.step_time_s.median


def measured_as_forecast(row: LargeRow) -> LargeRow:
    return replace(row, seconds=forecast_s(row))


def test_rows_are_grouped_by_all_but_devices_and_micro_batch():
    more, larger = replace(ROW, num_devices=64), replace(ROW, micro_batch=4)
    others = [
        replace(ROW, recompute=True),
        replace(ROW, length=2048),
        replace(ROW, source="fms-fsdp"),
        replace(ROW, sharding="none"),
    ]
    assert calibration.groups_of([ROW, *others, more, larger]) == [(ROW, more, larger)]


def test_the_share_that_rows_were_made_with_is_found_again():
    shipped = exchange_parameters().prefetched_share
    group = tuple(
        measured_as_forecast(replace(ROW, num_devices=count, micro_batch=samples))
        for count, samples in ((8, 1), (64, 1), (64, 4))
    )
    off = {share: max(calibration.deviations(group, share)) for share in (0.25, shipped, 1.0)}
    assert off[shipped] == pytest.approx(0.0, abs=1e-9)
    assert min(off[0.25], off[1.0]) > 0.01


def test_a_share_is_written_beside_what_else_was_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = json.loads(calibration.OUT.read_text(encoding="utf-8"))
    monkeypatch.setattr(calibration, "OUT", tmp_path / "exchange.json")
    calibration.OUT.write_text(json.dumps(before), encoding="utf-8")
    calibration.write(0.6)
    assert json.loads(calibration.OUT.read_text()) == before | {"prefetched_share": 0.6}
