"""What limits a step is its largest part; the figures are made such that it is plain which."""

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from traintime.architecture import network_for
from traintime.data.catalogue import find, split_sizes
from traintime.forecast.predict import forecast_job, plan_job
from traintime.hardware.contention import Contention
from traintime.hardware.profile import HardwareProfile
from traintime.recipe import read_recipe
from traintime.report.step_costs import Measured, kind_costs, layer_costs
from traintime.report.step_limit import name_limit
from traintime.train.op_profile import DISPATCH, WAITING, OpTime
from traintime.train.phase_marks import BACKWARD, DATA, FORWARD, OPTIMIZER
from traintime.train.step_profile import StepTimes

QUIET = Contention(1.0, 1.0, 0.0, 0.1)


def op(name: str, phase: str, ms: float, layer: int | None = None) -> OpTime:
    return OpTime(name, phase, layer, False, ms * 1e-3, 1.0)


USUAL = (
    op("aten::index_select", DATA, 1),
    op("aten::mkldnn_convolution", FORWARD, 2, 0),
    op("aten::convolution_backward", BACKWARD, 3, 0),
    op("aten::clamp_min", FORWARD, 1, 1),
    op("aten::mm", OPTIMIZER, 1),
    op(DISPATCH, FORWARD, 1),
)


def measured(*ops: OpTime, contention: Contention = QUIET, **changes: Any) -> Measured:
    """Return LeNet on MNIST with operations of these times."""
    recipe = read_recipe(
        ["data=mnist", "model=lenet", "precision=fp32", "convolution=native", "device=cpu"]
    )
    text = files("traintime.hardware").joinpath("reference_cpu.json").read_text("utf-8")
    machine = replace(
        HardwareProfile.from_json(json.loads(text)), evidence="measured on this machine"
    )
    facts = find("mnist")
    network = network_for(recipe, facts.shape, facts.num_classes)
    plan = plan_job(recipe, network, split_sizes(facts, recipe), "cpu", machine)
    phases: dict[str, float] = {}
    for part in ops:
        phases[part.phase] = phases.get(part.phase, 0.0) + part.seconds
    of_layers = [o for o in plan.workload.graph.ops if o.is_network and o.name != "loss"]
    return replace(
        Measured(
            times=StepTimes(phases, 0.009, 0.011, 10, contention),
            ops=ops,
            places=tuple(map(str, range(len(of_layers)))),
            graph=plan.workload.graph,
            recipe=recipe,
            execution=plan.execution,
            machine=machine,
            forecast=forecast_job(recipe, plan, machine, 0.0),
            run_step_s=None,
            between_s=0.0,
            stages_s={},
            steps=600,
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("extra", "limit"),
    [
        (op("aten::mkldnn_convolution", FORWARD, 50, 0), "compute"),
        (op("aten::clamp_min", FORWARD, 50, 1), "memory"),
        (op(DISPATCH, BACKWARD, 50), "dispatch"),
        (op("aten::index_select", DATA, 50), "input"),
        (op("aten::mm", OPTIMIZER, 50), "optimizer"),
    ],
)
def test_the_largest_part_is_what_limits(extra: OpTime, limit: str):
    word, sentence = name_limit(measured(*USUAL, extra))
    assert word == limit
    assert "% of a step" in sentence


def test_validations_longer_than_training_limit_the_run():
    word, sentence = name_limit(measured(*USUAL, stages_s={"train": 6.0, "validate": 60.0}))
    assert word == "validation"
    assert sentence == "Validation: 92 % of the time that training takes"  # 100 ms of 109 a step


def test_a_process_that_was_kept_waiting_says_so_first():
    waiting = Contention(10.0, 5.0, 4.0, 3.2, "process 7 (make)", 0.9)
    word, sentence = name_limit(measured(*USUAL, contention=waiting))
    assert word == "another process"
    assert "for 40 % of the time" in sentence
    assert "process 7 (make) keeps 0.9 cores busy" in sentence


def test_operations_have_the_forecast_s_kinds_and_sum_to_the_step():
    kinds = {cost.kind: cost for cost in kind_costs(measured(*USUAL))}
    shown = {kind: round(cost.seconds * 1e3, 6) for kind, cost in kinds.items()}
    assert shown == {
        "convolution": 5,
        "input": 1,
        "elementwise": 1,
        "orthogonalisation": 1,
        "dispatch": 1,
    }
    assert sum(cost.share for cost in kinds.values()) == pytest.approx(1)
    assert kinds["convolution"].forecast_s is not None


def test_a_layer_at_the_machine_s_own_rate_is_fully_efficient():
    known = measured(*USUAL)
    (convolution, *_) = layer_costs(known)
    assert convolution.name.startswith("conv 1→6")
    assert convolution.pace is not None
    # Twice as fast as the five milliseconds it took is twice as near to what the machine does.
    half = measured(*(replace(o, seconds=o.seconds / 2) for o in USUAL))
    assert layer_costs(half)[0].pace.efficiency == pytest.approx(2 * convolution.pace.efficiency)
    assert convolution.pace.per_s * 5e-3 == pytest.approx(
        known.layer_ops[0].work(known.recipe.batch_size)
    )


def test_what_others_had_the_processor_for_is_neither_dispatch_nor_a_limit_of_the_step():
    waiting = op(WAITING, FORWARD, 100)
    assert name_limit(measured(*USUAL, waiting))[0] == "compute"
    kinds = {cost.kind: cost.seconds for cost in kind_costs(measured(*USUAL, waiting))}
    assert kinds["dispatch"] == pytest.approx(1e-3)
    assert kinds[WAITING] == pytest.approx(0.1)
