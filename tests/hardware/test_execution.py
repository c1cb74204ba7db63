import pytest

from traintime.hardware.execution import Execution


@pytest.mark.parametrize(
    ("execution", "shown"),
    [
        (Execution(), "cpu, fp32, channels_last"),
        (Execution("cuda:0", "bf16", "contiguous"), "cuda:0, bf16, contiguous"),
        (Execution(fused=True, compile=True), "cpu, fp32, channels_last, fused, compiled"),
    ],
)
def test_an_execution_lists_its_choices(execution: Execution, shown: str):
    assert str(execution) == shown
