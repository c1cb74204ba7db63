import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from several_devices_page import section

SUMMARY = {"median": 0.02, "p90": 0.085, "bias": 0.01, "n": 991}
GROUPS = {
    "slots": SUMMARY | {"coverage_of_80": 0.79, "efficiency": 0.97},
    "entries": SUMMARY | {"coverage_of_80": 0.5, "efficiency": None},
}
ROW = {
    "title": "devices of a machine",
    "n": 1991,
    "groups": 16,
    "law": SUMMARY | {"coverage_of_80": 0.82},
    "one device": None,
    "perfect scaling": SUMMARY,
    "baselines": {"perfect scaling": SUMMARY | {"median": 0.5}, "constants": SUMMARY},
    "measured_efficiency": [0.88, 0.97, 0.99],
    "by": {"tied by": GROUPS, "left out": GROUPS, "devices": GROUPS},
    "worst": [{"model": "tv:resnet50", "device": "v100x8", "machine": "m", "log_error": -0.3}],
}
RESULT = {"scaling": {"machine": ROW, "nodes": ROW}, "rate": {"machine": ROW, "mlperf": ROW}}


def test_every_figure_of_the_page_comes_from_the_result():
    page = "\n".join(section(RESULT))
    assert page.startswith("### Several devices\n")
    assert (
        "| devices of a machine | 1,991 in 16 | 0.88 · 0.97 · 0.99 | 2.0% · 8.5% | 82% "
        "| 50.0% · 8.5% | 2.0% · 8.5% |" in page
    )
    assert "| slots | 991 | 0.97 | 2.0% · 8.5% | 79% | +0.01 |" in page
    assert "resnet50 on v100x8 (-0.30)" in page


def test_what_was_not_measured_is_a_dash():
    page = "\n".join(section(RESULT))
    assert "| entries | 991 | – |" in page
    assert "| devices of a machine | 1,991 | 2.0% · 8.5% | 82% | – | 2.0% · 8.5% |" in page
