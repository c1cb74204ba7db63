import csv
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from large_model_rows import NANOGPT_STEPS, LargeRow, large_model_rows, numerics_of
from large_models import answer, factors_of, ideal_s, job_of, roofline_s, shares_of_peak, summary_of
from traintime.hardware.devices import find_device

FIELDS = """
    source_id model precision hardware n_devices batch_per_device global_batch seq_len params_m
    metric value notes
"""
MPT = "grad_accum=2;sharding=FULL_SHARD;mp=PURE;act_ckpt=True"
TABLE = [
    ("llm-foundry mpt-7b amp-bf16 h100-sxm5-80gb 8 6 96 2048 6658.859 tokens_per_s 85000", MPT),
    ("llm-foundry mpt-7b amp-fp8 h100-sxm5-80gb 8 6 96 2048 6658.859 tokens_per_s 95000", MPT),
    ("llm-foundry mpt-7b amp-bf16 h100-sxm5-80gb 8 6 96 2048 6658.859 mfu 0.4", MPT),
    ("fms-fsdp llama2-7b bf16 a100-sxm4-80gb 128 2 - 4096 - tokens_per_s 582400", "HSDP, no AC"),
    ("fms-fsdp llama2-13b bf16 a100-sxm4-80gb 128 2 - 4096 - tokens_per_s 2752", "selective AC"),
    (
        "vtrain gpt fp16 a100-sxm4-80gb 4 2 32 1024 912.261 step_ms 406.4",
        "single-node;heads=16;hidden=2048;layers=16;TP=1;DP=4;PP=1",
    ),
    (
        "vtrain gpt fp16 a100-sxm4-80gb 64 8 512 2048 3560.964 step_ms 3566.5",
        "multi-node;heads=32;hidden=3072;layers=30;TP=1;DP=64;PP=1",
    ),
    (
        "vtrain gpt fp16 a100-sxm4-80gb 4 2 32 1024 912.261 step_ms 406.4",
        "single-node;heads=16;hidden=2048;layers=16;TP=2;DP=2;PP=1",
    ),
    ("nanogpt gpt2-124m bf16 a100-sxm4-40gb 8 - 480 1024 124 hours_to_target 96", "about 4 days"),
]


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    with (tmp_path / "llm_training.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS.split())
        for words, notes in TABLE:
            writer.writerow([*("" if word == "-" else word for word in words.split()), notes])
    return tmp_path


def llama(**changes) -> LargeRow:
    """A row of a shipped model, which no capture is needed for."""
    row = LargeRow(
        source="fms-fsdp",
        model="llama-2-7b",
        parameters=6_738_415_616,
        length=4096,
        device="a100-sxm4-80gb",
        num_devices=128,
        micro_batch=2,
        accumulate=1,
        precision="amp",
        sharding="full",
        recompute=False,
        compiled=True,
        seconds=1.8,
    )
    return replace(row, **changes)


def test_rows_are_read_as_their_tables_mean_them(measured: Path):
    rows = large_model_rows(measured)
    assert [row.source for row in rows] == [
        "llm-foundry",
        "fms-fsdp",
        "vtrain",
        "vtrain",
        "nanogpt",
    ]
    mpt, fms, small, large, nanogpt = rows
    assert (mpt.model, mpt.sharding, mpt.recompute, mpt.accumulate) == ("mpt:7b", "full", True, 2)
    assert mpt.batch_size == 96
    assert mpt.seconds == pytest.approx(96 * 2048 / 85000)
    assert (fms.model, fms.compiled, fms.batch_size) == ("llama-2-7b", True, 256)
    assert (small.model, small.accumulate, small.recompute) == ("megatron:h2048-l16-a16", 4, False)
    assert large.recompute, "8 samples at a time would not fit otherwise"
    assert nanogpt.batch_size == 480
    assert nanogpt.seconds == pytest.approx(96 * 3600 / NANOGPT_STEPS)


def test_gathered_blocks_are_captured_in_the_numerics_that_they_compute_in():
    assert numerics_of(llama()) == "fp32"
    assert numerics_of(llama(sharding="none")) == "amp"
    assert numerics_of(llama(precision="half", sharding="none")) == "fp32"


def test_a_row_is_asked_as_a_user_would():
    job = job_of(llama(recompute=True))
    assert (job.batch_size, job.sharding, job.recompute, job.optimizer) == (
        256,
        "full",
        True,
        "adamw",
    )


def test_what_people_reckon_is_six_flop_for_each_parameter_and_token():
    row, peak = llama(), find_device("a100-sxm4-80gb").half_flops
    assert ideal_s(row) == pytest.approx(6 * row.parameters * 2 * 4096 / (peak or 0))
    assert ideal_s(replace(row, recompute=True)) == pytest.approx(ideal_s(row) * 8 / 6)
    assert roofline_s(row, find_device(row.device)) > ideal_s(row)


def test_the_share_of_the_peak_is_that_of_the_other_sources():
    rows = [
        llama(seconds=4 * ideal_s(llama())),
        llama(source="other", seconds=2 * ideal_s(llama())),
    ]
    assert shares_of_peak(rows) == pytest.approx({"fms-fsdp": 0.5, "other": 0.25})


def test_a_factor_is_what_a_part_is_off_by():
    one = answer(llama())
    kinds = {share.kind: share.seconds for share in one.forecast.step_by_kind}
    step_s = one.forecast.step_time_s.median
    # with products alone off by a half, and others as they are
    longer = step_s + 0.5 * kinds["matrix product"]
    shifted = [replace(one, row=llama(seconds=longer))]
    again = answer(llama(micro_batch=1))
    parts = {share.kind: share.seconds for share in again.forecast.step_by_kind}
    more = again.forecast.step_time_s.median + 0.5 * parts["matrix product"]
    third = answer(llama(length=16384))
    last = {share.kind: share.seconds for share in third.forecast.step_by_kind}
    most = third.forecast.step_time_s.median + 0.5 * last["matrix product"]
    shifted += [replace(again, row=llama(micro_batch=1, seconds=more))]
    shifted += [replace(third, row=llama(length=16384, seconds=most))]
    found = factors_of(shifted)
    assert found["rest"] < 0.02
    assert found["factors"]["products"] == pytest.approx(1.5, abs=0.1)


def test_a_summary_counts_rows_that_are_called_not_to_fit():
    rows = [llama(), llama(source="other", micro_batch=64)]
    summary = summary_of([answer(row) for row in rows])
    assert summary["all"]["n"] == 2
    assert summary["all"]["called not to fit"] == len(summary["called_not_to_fit"]) == 1
    assert summary["by"]["source"]["fms-fsdp"]["called not to fit"] == 0
    assert math.isfinite(summary["all"]["law"]["median"])
    assert set(summary["shares_of_peak"]) == {"fms-fsdp", "other"}
