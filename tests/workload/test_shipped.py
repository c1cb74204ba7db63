import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.workload.test_kernels import graph, kernel
from traintime.errors import InputError
from traintime.workload.capture import graph_of
from traintime.workload.kernels import KernelGraph
from traintime.workload.own_module import from_module
from traintime.workload.sample import Sample
from traintime.workload.shipped import (
    ALIASES,
    FOLDER,
    SUFFIX,
    check_shipped_sample,
    families,
    pack,
    shipped_graph,
    shipped_names,
)


def shipped(name: str, numerics="fp32") -> KernelGraph:
    found = shipped_graph(name, numerics)
    assert found
    return found


def test_some_sixty_models_are_shipped():
    assert len(shipped_names()) >= 55
    assert {"resnet50", "vit_base_patch16_224", "bert-base", "gpt2", "llama-2-7b", "unet"} <= set(
        shipped_names()
    )


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_names_a_shipped_graph_and_hides_none(alias, name):
    assert name in shipped_names()
    assert alias not in shipped_names()
    assert shipped(alias.upper()).model == name


@pytest.mark.parametrize("name", ["", "resnet", "../shipped", "graphs/resnet50", "resnet50.json"])
def test_other_names_have_no_graph(name):
    assert shipped_graph(name, "fp32") is None


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_graph_is_whole(name):
    graphs = {numerics: shipped(name, numerics) for numerics in ("fp32", "amp")}
    for numerics, of in graphs.items():
        assert (of.model, of.numerics, of.unknown) == (name, numerics, ())
        assert {one.phase for one in of.kernels} == {"forward", "backward"}
        assert of.flops(16) > 0
        assert of.peak_bytes.at(16) >= of.kept_bytes.at(16) > 0
        assert "torch 2" in of.source
    fp32, amp = graphs["fp32"], graphs["amp"]
    assert not any(one.half for one in fp32.kernels)
    assert any(one.half for one in amp.kernels)
    assert amp.flops(1) == pytest.approx(fp32.flops(1), rel=1e-6)
    # copies of the weights come on top, so only with many samples does it keep less
    assert amp.kept_bytes.at(512) < fp32.kept_bytes.at(512)
    assert pack(graphs) == (FOLDER / f"{name}{SUFFIX}").read_bytes()


def test_every_model_has_its_kin():
    listed = [name for kin in families().values() for name in kin]
    assert sorted(listed) == sorted(shipped_names())


# Sides below which torch raises, and tables of positions as published.
LIMITS = {
    "vgg16": ((3, 31, 64), (3, 32, 64)),
    "alexnet": ((3, 62, 63), (3, 63, 63)),
    "vit_base_patch16_224": ((3, 15, 16), (3, 16, 16)),
    "bert-base": ((513,), (512,)),
    "gpt2": ((1025,), (1024,)),
    "roberta-base": ((513,), (512,)),
    "opt-1.3b": ((2049,), (2048,)),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_sample_that_the_model_itself_refuses_is_refused(name):
    refused, taken = (Sample(shape, tokens=len(shape) == 1) for shape in LIMITS[name])
    check_shipped_sample(shipped(name), taken)
    with pytest.raises(InputError, match=f"Type input='?{taken}"):
        check_shipped_sample(shipped(name), refused)


def test_models_without_an_end_take_any_length():
    for name in ("t5-small", "llama-2-7b", "lstm-lm"):
        check_shipped_sample(shipped(name), Sample((100_000,), tokens=True))


# Multiply-adds of one forward and parameters: of torchvision's models as its 0.28.0 states them in
# `weights.meta`, of the others as commonly quoted.
PUBLISHED = {
    "resnet18": (1.81e9, 11_689_512),
    "resnet50": (4.09e9, 25_557_032),
    "vgg16": (15.47e9, 138_357_544),
    "alexnet": (0.71e9, 61_100_840),
    "densenet121": (2.83e9, 7_978_856),
    "mobilenet_v2": (0.30e9, 3_504_872),
    "efficientnet_b0": (0.39e9, 5_288_548),
    "regnet_y_8gf": (8.47e9, 39_381_472),
    "convnext_tiny": (4.46e9, 28_589_128),
    "vit_base_patch16_224": (17.56e9, 86_567_656),
    "swin_tiny": (4.49e9, 28_288_354),
    "bert-base": (None, 109_514_298),
    "gpt2": (None, 124_439_808),
    "gpt2-xl": (None, 1_557_611_200),
    "t5-small": (None, 60_506_624),
    "opt-1.3b": (None, 1_315_758_080),
    "llama-2-7b": (None, 6_738_415_616),
}


@pytest.mark.parametrize(
    ("name", "multiply_adds", "parameters"), [(name, *values) for name, values in PUBLISHED.items()]
)
def test_sizes_are_those_that_were_published(name, multiply_adds, parameters):
    of = shipped(name)
    assert of.parameters == parameters
    if multiply_adds:
        forward = sum(k.count * k.flops.at(1) for k in of.kernels if k.phase == "forward")
        assert forward / 2 == pytest.approx(multiply_adds, rel=0.03)


def test_resnet50s_step_is_three_forwards_but_for_the_gradient_of_the_image():
    of = shipped("resnet50")
    forward = sum(k.count * k.flops.at(1) for k in of.kernels if k.phase == "forward")
    stem = 2 * 64 * (3 * 7 * 7) * 112 * 112
    assert of.flops(1) == pytest.approx(3 * forward - stem, rel=1e-8)


def test_language_models_compute_six_flops_a_parameter_and_token():
    of = shipped("llama-2-7b")
    of_embedding, attention = 32_000 * 4096, 12 * 32 * 4096 * 4096 * 7 / 6
    a_token = 6 * (of.parameters - of_embedding) + attention
    assert of.flops(1) == pytest.approx(4096 * a_token, rel=0.01)


def test_a_smaller_image_is_less_work_by_its_area():
    of = shipped("resnet50")
    linear = 3 * 2 * 2048 * 1000
    assert of.flops(1, 0.25) - linear == pytest.approx((of.flops(1) - linear) / 4, rel=1e-6)


def test_reading_needs_no_torch():
    code = (
        "import sys; from traintime.workload.shipped import shipped_graph;"
        "assert shipped_graph('resnet50', 'amp');"
        "from traintime.workload.find_model import find_graph;"
        "assert find_graph('gpt2', 'fp32');"
        "assert not {'torch', 'numpy', 'timm', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_packing_gives_the_same_bytes_each_time():
    graphs = {"fp32": graph(kernel())}
    assert pack(graphs) == pack(dict(graphs))
    assert json.loads(json.dumps(graphs["fp32"].to_json()))


def test_all_of_them_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 3e6


def test_the_recurrent_networks_memory_holds_for_texts_thirty_times_as_long():
    path = Path(__file__).parents[2] / "scripts/small_networks.py"
    spec = importlib.util.spec_from_file_location("small_networks", path)
    assert spec
    assert spec.loader
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    module = networks.LstmLanguageModel()
    captured = graph_of(from_module(module, torch.zeros(1, 1024, dtype=torch.long)))
    of, size = shipped("lstm-lm"), 1024 / 35
    for batch in (8, 64):
        assert of.peak_bytes.at(batch, size) == pytest.approx(
            captured.peak_bytes.at(batch), rel=1e-3
        )
        assert of.kept_bytes.at(batch, size) == pytest.approx(
            captured.kept_bytes.at(batch), rel=1e-3
        )
