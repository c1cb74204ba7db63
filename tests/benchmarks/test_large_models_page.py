import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from large_models_page import section

ERRORS = {"median": 0.123, "p90": 0.4, "bias": -0.08}
GROUP = {
    "law": ERRORS | {"coverage_of_80": 0.79},
    "share of peak": ERRORS | {"median": 0.7},
    "roofline": ERRORS | {"median": 0.379},
    "called not to fit": 2,
    "n": 1128,
}
ONE = {
    "model": "mpt:7b",
    "length": 2048,
    "device": "h100x8",
    "micro_batch": 6,
    "recompute": False,
    "log_error": -0.31,
    "peak_gib": 83.4,
    "chance_it_fits": 0.4,
}
RESULT = {
    "left_out": "rows in 8 bits",
    "all": GROUP,
    "by": {"source": {"llm-foundry": GROUP}, "length": {"up to 8,192 tokens": GROUP}},
    "nanogpt_compiled": {"told": 0.54, "forecast": 0.571},
    "factors": {
        "llm-foundry on h100": {"n": 34, "factors": {"products": 1.07}, "rest": 0.031},
        "vtrain on a100": {"n": 243, "factors": {"traffic": 1.5}, "rest": 0.045},
    },
    "stated_memory": {"stated_bytes": 14.1e9, "forecast_bytes": 12.04e9},
    "filled": {"llm-foundry": [0.41, 0.68, 0.93]},
    "worst": [ONE],
    "called_not_to_fit": [ONE],
}


def test_every_figure_of_the_page_comes_from_the_result():
    page = "\n".join(section(RESULT))
    assert page.startswith("### Large language models\n")
    line = (
        "| llm-foundry | 1,128 | 12.3% · 40.0% | 79% | -0.08 | 70.0% · 40.0% | 37.9% · 40.0% | 2 |"
    )
    assert line in page
    assert "| llm-foundry on h100 | 34 | 1.07 | – | 3.1% |" in page
    assert "| vtrain on a100 | 243 | – | 1.50 | 4.5% |" in page
    assert "mpt:7b of 2,048 tokens on h100x8 (-0.31)" in page
    assert "(10 · 50 · 90 % of rows): llm-foundry 41% · 68% · 93%." in page
    assert "litgpt states 14.1 GB" in page
    assert "12.0 GB are forecast" in page
    assert "Left out: rows in 8 bits." in page


def test_rows_that_are_called_not_to_fit_are_named_with_their_memory():
    page = "\n".join(section(RESULT))
    assert "All 1,128 ran, so all fit; 1 of them are called not to: mpt:7b of 2,048" in page
    assert "on h100x8 (83 GiB)." in page
    none = "\n".join(section(RESULT | {"called_not_to_fit": []}))
    assert "so all fit; 0 of them are called not to. How much" in none
