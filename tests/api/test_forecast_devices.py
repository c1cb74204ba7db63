import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import torch
from torch import nn

import traintime
from traintime import DeviceForecast, Forecast, Question, Recipe
from traintime.api import question as question_api
from traintime.api.listener import Listener
from traintime.errors import InputError, MissingExtraError, UnknownNameError
from traintime.forecast.asked_job import uses_channels_last
from traintime.hardware.devices import devices, find_device, save_device
from traintime.hardware.machine import Gpu, Machine
from traintime.units import GIB
from traintime.workload.sample import Sample

RESNET: dict[str, Any] = {"model": "resnet50", "data": "imagenet", "batch_size": 256}


class Told(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


# One device


def test_a_shipped_model_is_forecast_on_a_device_that_is_not_here():
    answer = traintime.forecast(**RESNET, epochs=90, device="rtx-3090", precision="amp")
    assert isinstance(answer, DeviceForecast)
    assert (answer.model, answer.device, answer.num_devices) == ("resnet50", "rtx-3090", 1)
    assert answer.steps_per_epoch == 5005
    assert answer.epochs == 90
    assert answer.parameters == 25_557_032
    # 3 · 4.09 G multiply-adds a sample, He et al. 2015, less the first layer's input gradient
    assert answer.flops_per_step == pytest.approx(256 * 6 * 4.09e9, rel=0.02)
    assert 0.1 < answer.step_time_s.median < 1.0
    assert answer.total_s.median > 90 * answer.epoch_time_s.median
    assert any("1,281,167 images" in line for line in answer.assumptions)


def test_an_answer_needs_neither_torch_nor_numpy():
    script = (
        "import sys; sys.modules['torch'] = None; import traintime\n"
        "print(traintime.forecast(model='resnet50', data='imagenet', device='t4').parameters)\n"
        "sys.exit(bool({'numpy', 'safetensors', 'PIL'} & {*sys.modules}))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) == 25_557_032


def test_a_recipe_here_is_forecast_as_before():
    answer = traintime.forecast(data="digits", model="mlp", device="cpu")
    assert isinstance(answer, Forecast)
    recipe = Recipe(data="digits", model="mlp", device="cpu")  # pyright: ignore[reportCallIssue]
    assert isinstance(traintime.forecast(recipe), Forecast)


def test_a_recipe_may_be_asked_about_elsewhere():
    recipe = Recipe(data="digits", model="mlp", epochs=7)  # pyright: ignore[reportCallIssue]
    answer = traintime.forecast(recipe, device="t4")
    assert isinstance(answer, DeviceForecast)
    assert (answer.epochs, answer.batch_size) == (7, recipe.batch_size)


def test_a_question_and_a_file_ask_alike(tmp_path: Path):
    question = Question(model="resnet50", data="imagenet", batch_size=256, device="t4")
    path = tmp_path / "question.yaml"
    path.write_text("model: resnet50\ndata: imagenet\nbatch_size: 256\ndevice: t4\n")
    answers = [traintime.forecast(question), traintime.forecast(path)]
    assert answers[0] == answers[1] == traintime.forecast(**RESNET, device="t4")
    assert traintime.forecast(question, device="a100").device == "a100"


def test_input_scales_the_work_with_its_area():
    small = traintime.forecast(**RESNET, device="t4")
    large = traintime.forecast(**RESNET, device="t4", input="3x448x448")
    assert large.flops_per_step == pytest.approx(4 * small.flops_per_step, rel=0.01)
    assert large.input_shape == (3, 448, 448)
    assert any("scaled to 3x448x448" in line for line in large.assumptions)
    assert traintime.forecast(**RESNET, device="t4", input=448) == large


def test_samples_limit_the_data_or_stand_for_it():
    part = traintime.forecast(**RESNET, device="t4", samples=10_000)
    assert part.steps_per_epoch == 40
    own = traintime.forecast(model="resnet50", samples=640, device="t4")
    assert (own.batch_size, own.steps_per_epoch) == (64, 10)
    assert own.stages_s["validate"].median == 0.0
    watched = traintime.forecast(model="resnet50", samples=640, validation_samples=64, device="t4")
    assert watched.stages_s["validate"].median > 0


LLAMA: dict[str, Any] = {"model": "llama-2-7b", "batch_size": 64, "device": "h100x8"}


def test_tokens_are_the_size_of_a_job_on_text():
    answer = traintime.forecast(**LLAMA, tokens=64 * 4096 * 1000, sharding="full", recompute=True)
    assert (answer.steps_per_epoch, answer.epochs) == (1000, 1)
    assert answer.total_s.median == pytest.approx(1000 * answer.step_time_s.median)
    assert "262,144,000 tokens: 64,000 samples of 4096 tokens" in answer.assumptions
    longer = traintime.forecast(**LLAMA, tokens=64 * 4096 * 1000 + 1)
    assert longer.steps_per_epoch == 1001
    short = traintime.forecast(**LLAMA, tokens=64 * 4096 * 1000, input=1024)
    assert short.steps_per_epoch == 4000


def test_a_model_of_seven_billion_fits_where_it_is_divided_and_computed_again():
    whole = traintime.forecast(**LLAMA)
    assert not whole.fits
    assert "It would fit with sharding=full recompute=true" in whole.assumptions[0]
    divided = traintime.forecast(**LLAMA, sharding="full", recompute=True)
    assert (divided.chance_it_fits or 0) > 0.9
    said = "\n".join(divided.assumptions)
    assert "weights are gathered in 16 bits, block by block" in said
    assert "Each of 32 blocks in model.layers keeps its input alone" in said
    assert "pipeline, tensor or expert parallelism) is not forecast" in said
    assert divided.memory_by_part["weights"] == pytest.approx(4 * 6_738_415_616 / 8)


def test_dividing_on_one_device_is_said_to_change_nothing():
    one = traintime.forecast(model="gpt2", device="a100", sharding="full")
    plain = traintime.forecast(model="gpt2", device="a100")
    assert "sharding=full changes nothing on one device" in one.assumptions
    assert one.step_time_s == plain.step_time_s
    assert one.peak_memory_bytes == plain.peak_memory_bytes


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "resnet50", "tokens": 1e9}, "resnet50 takes input 3x224x224. Type samples="),
        ({"model": "gpt2", "tokens": 1000}, "are less than one batch: 64 samples of 1024 tokens"),
        ({"model": "mlp", "data": "mnist", "tokens": 1e9}, "leave tokens= out and type epochs="),
        ({"model": "lstm-lm", "recompute": True}, "lstm-lm has none that are known"),
    ],
)
def test_tokens_and_blocks_that_do_not_suit_the_model_are_refused(fields, says: str):
    with pytest.raises(InputError, match=re.escape(says)):
        traintime.forecast(**fields, device="a100")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "resnet50", "data": "sst2"}, "made of sentences and resnet50 takes input"),
        ({"model": "bert-base", "data": "imagenet"}, "made of images and bert-base takes text"),
        ({"model": "bert-base", "data": "librispeech"}, "made of recordings and bert-base takes"),
        ({"model": "resnet50", "data": "librispeech"}, "made of recordings and resnet50 takes"),
        ({"model": "resnet50", "input": "512 tokens"}, "takes images, and input='512 tokens'"),
        ({"model": "resnet50", "tokens": 10**9}, "Type samples= and epochs= instead$"),
        ({"model": "gpt2", "tokens": 1e30}, "from 1 to 1,000,000,000,000,000,000"),
        ({"model": "gpt2", "tokens": "300B"}, "try tokens=300e9"),
        ({"model": "gpt2", "label": "Status"}, "label= is of a table"),
    ],
)
def test_what_is_no_input_of_the_model_is_refused(fields: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        traintime.forecast(**fields, device="a100")


def test_the_products_of_muon_are_said_not_to_be_counted():
    plain = traintime.forecast(**RESNET, device="a100", optimizer="adamw")
    muon = traintime.forecast(**RESNET, device="a100", optimizer="muon")
    assert not any("muon" in line for line in plain.assumptions)
    assert any("optimizer=muon" in line for line in muon.assumptions)


def test_a_processor_is_given_images_as_they_come():
    own = dataclasses.replace(find_device("a100-sxm4-80gb"), kind="cpu", key="own", name="Own")
    job = {"sample": Sample((3, 32, 32)), "precision": "amp"}
    assert uses_channels_last("auto", find_device("a100-sxm4-80gb"), **job)
    assert not uses_channels_last("auto", own, **job)
    assert uses_channels_last("channels_last", own, **job)


def test_images_of_a_size_of_their_own_are_said_to_be_resized():
    answer = traintime.forecast(model="resnet50", data="cifar100", device="t4")
    assert any("type input=3x32x32 to leave them as they are" in a for a in answer.assumptions)
    as_they_are = traintime.forecast(model="resnet50", data="cifar100", device="t4", input=32)
    assert as_they_are.total_s.median < answer.total_s.median
    assert not any("type input=" in a for a in as_they_are.assumptions)


@pytest.mark.parametrize(
    ("model", "given", "read"),
    [
        ("hf:gpt2", 512, "512 tokens"),
        ("hf:gpt2", "512 tokens", "512 tokens"),
        ("timm:resnet50", 160, "3x160x160"),
        ("timm:resnet50", "1x160x160", "1x160x160"),
        ("net.py:build", 160, "160"),
        ("hf:gpt2", None, ""),
    ],
)
def test_a_number_alone_is_a_length_or_a_side(model: str, given: Any, read: str):
    question = Question(model=model, samples=1, batch_size=1, input=given)
    assert question_api._input_as_typed(question) == read


def test_a_file_with_a_module_is_captured(tmp_path: Path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))\n"
    )
    model = f"{tmp_path / 'net.py'}:build"
    answer = traintime.forecast(model=model, input="3x4x4", samples=1000, device="t4")
    assert (answer.parameters, answer.input_shape) == (147, (3, 4, 4))


# Our own networks


def test_our_network_is_captured_and_keeps_its_preset():
    answer = traintime.forecast(model="lenet", data="mnist", device="t4")
    assert answer.parameters == 61_706
    assert (answer.epochs, answer.batch_size, answer.input_shape) == (3, 256, (1, 28, 28))
    assert answer.steps_per_epoch == 223  # of 57,000 images, as `traintime train` has them
    changed = traintime.forecast(model="mlp", data="mnist", hidden=(10,), device="t4", epochs=2)
    assert (changed.parameters, changed.epochs) == (784 * 10 + 10 + 10 * 10 + 10, 2)


def test_resnet18_is_ours_on_small_images_and_the_shipped_one_on_imagenet():
    ours = traintime.forecast(model="resnet18", data="cifar10", device="t4")
    shipped = traintime.forecast(model="resnet18", data="imagenet", device="t4")
    assert (ours.input_shape, shipped.input_shape) == ((3, 32, 32), (3, 224, 224))
    assert (ours.parameters, shipped.parameters) == (11_173_962, 11_689_512)
    resized = traintime.forecast(
        model="resnet18", data="cifar10", device="t4", input="3x224x224", batch_size=64
    )
    assert resized.parameters == shipped.parameters
    assert resized.flops_per_step * 4 == pytest.approx(
        traintime.forecast(
            model="resnet18", data="imagenet", device="t4", batch_size=256
        ).flops_per_step
    )


def test_capturing_ours_leaves_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    traintime.forecast(model="mlp", data="digits", device="t4")
    assert torch.rand(1) == expected


def test_our_network_needs_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'traintime\[train\]'"):
        traintime.forecast(model="lenet", data="mnist", device="t4")


def test_a_target_is_said_not_to_be_forecast_elsewhere():
    answer = traintime.forecast(model="mlp", data="digits", target="accuracy:0.9", device="t4")
    assert any("accuracy:0.9 is reached is not forecast" in line for line in answer.assumptions)


# A torch module


def tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


def test_a_module_is_forecast_from_an_example_batch():
    module = tiny()
    before = [parameter.clone() for parameter in module.parameters()]
    answer = traintime.forecast(module, torch.zeros(32, 3, 8, 8), samples=320, device="t4")
    assert (answer.model, answer.batch_size, answer.steps_per_epoch) == ("Sequential", 32, 10)
    assert answer.input_shape == (3, 8, 8)
    assert answer.parameters == 3 * 8 * 9 + 8 + 8 * 36 * 4 + 4
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_a_module_may_bring_loss_optimizer_and_named_inputs():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    module = Named()
    answers = [
        traintime.forecast(
            module,
            {"x": torch.zeros(8, 4)},
            loss=lambda scores: scores.square().mean(),
            optimizer=optimizer,
            samples=64,
            epochs=3,
            device="t4",
        )
        for optimizer in ("adam", torch.optim.Adam, torch.optim.Adam(module.parameters()))
    ]
    assert answers[0] == answers[1] == answers[2]
    weights = answers[0].memory_by_part["weights"]
    assert answers[0].memory_by_part["optimizer"] == 2 * weights
    assert (answers[0].batch_size, answers[0].epochs) == (8, 3)


def test_a_module_is_forecast_on_several_devices_from_one_capture():
    answers = traintime.forecast_devices(
        tiny(), (torch.zeros(32, 3, 8, 8),), devices="t4,a100x2", samples=320
    )
    assert {answer.device for answer in answers} == {"t4", "a100"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((nn.Linear(2, 2),), r"Write forecast\(module, example_batch"),
        ((3,), "A int was given where a recipe, a YAML file or a torch module is due"),
        ((nn.Linear(2, 2), object()), "holds no tensor"),
    ],
)
def test_what_is_no_module_with_a_batch_is_refused(given: tuple[Any, ...], says: str):
    with pytest.raises(InputError, match=says):
        traintime.forecast(*given, samples=10, device="t4")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"device": "t5"}, "No device named 't5'"),
        ({"data": "nosuch"}, "No data set named 'nosuch'"),
        ({"precision": "int8"}, "precision=int8 does not work"),
        ({"samples": 10, "input": "2"}, "leave input= out"),
        ({"samples": 10, "optimizer": torch.optim.LBFGS}, "optimizer=lbfgs does not work"),
    ],
)
def test_a_module_is_asked_about_in_full(fields: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        traintime.forecast(nn.Linear(2, 2), torch.zeros(4, 2), **{"device": "t4", **fields})


def test_a_module_in_16_bits_is_forecast_in_half():
    batch = torch.zeros(8, 512)
    module = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
    full = traintime.forecast(module, batch, device="a100")
    for kind in (torch.float16, torch.bfloat16):
        half = traintime.forecast(module.to(kind), batch.to(kind), device="a100")
        assert half.precision == "half"
        assert half.memory_by_part["weights"] == full.memory_by_part["weights"] / 2
        assert any("Its weights are in 16 bits" in line for line in half.assumptions)
    with pytest.raises(InputError, match=r"Type precision=half, or give module.float\(\)"):
        traintime.forecast(module, batch, device="a100", precision="amp")


def test_the_shape_of_the_data_is_that_of_a_module_that_says_none(tmp_path: Path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build(): return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n"
    )
    answer = traintime.forecast(model=f"{tmp_path}/net.py:build", data="cifar10", device="t4")
    assert answer.input_shape == (3, 32, 32)


# What auto and a permission choose


@pytest.mark.parametrize(("model", "device"), [("vgg16", "rtx-3090"), ("resnet18", "rtx-5090")])
def test_tf32_is_a_permission_and_never_slower_than_fp32(model: str, device: str):
    asked = {"model": model, "batch_size": 16, "device": device}
    rounded = traintime.forecast(**asked, precision="tf32")
    full = traintime.forecast(**asked, precision="fp32")
    assert rounded.precision == "tf32"
    assert rounded.step_time_s.median <= full.step_time_s.median


def test_auto_stores_images_as_is_faster():
    asked = {"model": "regnet_y_8gf", "batch_size": 64, "device": "rtx-4090"}
    chosen, last = traintime.forecast(**asked), {}
    for layout in ("channels_last", "contiguous"):
        last[layout] = traintime.forecast(**asked, memory_format=layout).step_time_s.median
    assert chosen.step_time_s.median == min(last.values()) < max(last.values()) / 2
    assert "Computed in amp, images contiguous, as auto has it" in chosen.assumptions


# A step alone


def test_a_step_is_forecast_where_nobody_says_how_many_samples_there_are():
    alone = traintime.forecast(model="resnet50", batch_size=256, device="t4x2")
    whole = traintime.forecast(**RESNET, device="t4x2")
    assert alone.step_time_s == whole.step_time_s
    assert alone.peak_memory_bytes == whole.peak_memory_bytes
    assert (alone.epoch_time_s, alone.total_s, alone.stages_s) == (None, None, {})
    assert alone.steps_per_epoch == 0
    assert json.loads(json.dumps(alone.to_json()))["total_s"] is None


def test_real_steps_of_a_step_alone_are_of_a_step_alone():
    answer = traintime.forecast(Small(), torch.zeros(8, 32), pilot=6, device="cpu")
    assert (answer.evidence, answer.total_s) == ("run on this machine", None)


def test_devices_are_sorted_by_a_step_where_no_more_is_known():
    answers = traintime.forecast_devices(model="resnet50", devices="t4,h200,rtx-3090")
    assert [answer.device for answer in answers] == ["h200", "rtx-3090", "t4"]


# Several devices


def test_remedies_are_tried_for_devices_that_are_named():
    large = RESNET | {"batch_size": 2048}
    (named,) = traintime.forecast_devices(**large, devices="t4")
    (among_all,) = (one for one in traintime.forecast_devices(**large) if one.device == "t4")
    assert "It would fit with accumulate=" in named.assumptions[0]
    assert among_all.assumptions[0].endswith("What would make it fit, device=t4 alone says")
    assert named.step_time_s == among_all.step_time_s


def test_every_device_is_answered_or_said_to_be_left_out():
    told = Told()
    answers = traintime.forecast_devices(**RESNET, listener=told)
    left_out = told.lines[-1]
    assert left_out.startswith("Left out, since they cannot do it or too little is known of them:")
    missing = {spec.key for spec in devices()} - {answer.device for answer in answers}
    assert missing == set(left_out.partition(": ")[2].split(", "))
    assert "gaudi" in missing
    assert len(answers) > 150


def test_devices_are_sorted_by_time_those_that_do_not_fit_last():
    answers = traintime.forecast_devices(**RESNET, device="all")
    fits = [
        (answer.chance_it_fits or 0) >= 0.5 or answer.chance_it_fits is None for answer in answers
    ]
    assert fits == sorted(fits, reverse=True)
    assert False in fits
    times = [answer.total_s.median for answer, fit in zip(answers, fits, strict=True) if fit]
    assert times == sorted(times)


def test_devices_are_sorted_by_memory_left_and_by_efficiency():
    roomy = traintime.forecast_devices(**RESNET, devices="t4,h200,a100", sort_by="memory")
    assert [answer.device for answer in roomy] == ["h200", "a100", "t4"]
    frugal = traintime.forecast_devices(**RESNET, devices="a100,rtx-3090", sort_by="efficiency")
    efficiencies = [answer.flops_per_joule or 0 for answer in frugal]
    assert efficiencies == sorted(efficiencies, reverse=True)
    unknown = traintime.forecast_devices(
        **RESNET, devices="cpu-gcp-n1-standard-16,t4", sort_by="memory"
    )
    assert [answer.device for answer in unknown] == ["t4", "cpu-gcp-n1-standard-16"]


def test_a_list_names_devices_and_counts():
    answers = traintime.forecast_devices(**RESNET, device=("rtx-3090", "a100x4"))
    assert {(a.device, a.num_devices) for a in answers} == {("rtx-3090", 1), ("a100", 4)}


def test_a_device_that_was_named_is_not_left_out():
    with pytest.raises(InputError, match="Too little is known of"):
        traintime.forecast_devices(**RESNET, devices="t4,gaudi")


def test_what_no_device_can_do_is_refused_once():
    with pytest.raises(InputError, match="more than the 100"):
        traintime.forecast_devices(model="resnet50", samples=100, batch_size=256)


def test_an_unknown_order_is_refused():
    with pytest.raises(UnknownNameError, match=r"No order named 'price'.*sort_by=time"):
        traintime.forecast_devices(**RESNET, sort_by="price")


def test_one_answer_is_not_given_for_several_devices():
    with pytest.raises(InputError, match=r"names 2 devices.*forecast_devices"):
        traintime.forecast(**RESNET, device="t4,a100")


@pytest.mark.slow
def test_all_devices_take_little_longer_than_one():
    def seconds(device: str) -> float:
        began = process_time()
        traintime.forecast_devices(**RESNET, device=device)
        return process_time() - began

    one, every = (min(seconds(device) for _ in range(5)) for device in ("t4", "all"))
    assert every - one < 0.15  # 0.1 where nothing else runs


# This machine


def test_this_processor_is_forecast_by_what_was_measured_on_it():
    answer = traintime.forecast(model="resnet50", samples=100, batch_size=10, device="cpu")
    assert isinstance(answer, DeviceForecast)
    assert answer.device == "cpu"
    both = traintime.forecast_devices(model="resnet50", samples=100, devices="cpu, t4")
    assert {each.device for each in both} == {"cpu", "t4"}


def test_this_gpu_is_found_in_the_catalogue(monkeypatch: pytest.MonkeyPatch):
    here = Machine("a CPU", 8, 3.0, 32 * GIB, GIB, (Gpu("NVIDIA GeForce RTX 3090", 24 * GIB),), "")
    monkeypatch.setattr(question_api, "detect_machine", lambda _: here)
    for device in ("auto", "cuda", "cuda:0"):
        assert traintime.forecast(**RESNET, device=device).device == "rtx-3090"
    with pytest.raises(UnknownNameError, match="cuda:1"):
        traintime.forecast(**RESNET, device="cuda:1")


def test_a_device_of_ones_own_is_forecast():
    save_device(dataclasses.replace(find_device("t4"), key="mine", confidence="user"))
    answer = traintime.forecast(**RESNET, device="mine")
    assert (answer.device, answer.evidence) == ("mine", "specs only")


# What cannot be asked


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "resnet5O"}, "No model named 'resnet5O'. Did you mean 'resnet50'"),
        ({"model": "lennet", "data": "mnist"}, "No model named 'lennet'. Did you mean 'lenet'"),
        ({"model": "lenet"}, "lenet is one of traintime's own networks.*data=mnist"),
        ({"model": "lenet", "data": "mnist", "input": "1x28x28"}, "leave input= out"),
        ({"data": "imagnet"}, "No data set named 'imagnet'. Did you mean 'imagenet'"),
        ({"data": "wikitext-103"}, "WikiText-103 is made of tokens and resnet50 takes input"),
        ({"samples": 2_000_000}, "2,000,000 training samples were asked for, and ImageNet-1k has"),
        ({"input": "1x28x28"}, "input=1x28x28 does not fit resnet50"),
        ({"input": "big"}, "input='big' is no shape"),
        ({"input": "3x224"}, "images of 3 channels and any sides"),
        ({"model": "vgg16", "input": "8"}, "no images of 3x8x8.*Type input=3x32x32 or larger"),
        ({"model": "alexnet", "input": "3x80x31"}, "Type input=3x80x63 or larger"),
        (
            {"model": "bert-base", "data": None, "input": "513"},
            "at most 512 tokens and not 513.*Type input='512 tokens'",
        ),
        ({"model": "nosuch", "data": None, "device": "foo"}, "`traintime models` lists them"),
        ({"batch_size": 10**9}, "is more than the 1,281,167.*Type batch_size=1024"),
        ({"device": "rtx-309O"}, "No device named 'rtx-309O'"),
        ({"device": "t4x0"}, "whole number of devices"),
        ({"device": "t4x1000"}, "cannot be split over 1,000 devices"),
        ({"device": "cuda:7"}, "device=cuda:7 was asked for, and this machine has no GPU"),
        ({"precision": "tf32"}, "T4 has no TF32"),
        ({"lr": 0.1}, "'lr' is for networks that traintime trains itself"),
        ({"epochs": 0}, "epochs=0 does not work"),
        ({"model": "lenet", "data": "mnist", "batchsize": 1}, "Did you mean 'batch_size'"),
        ({"model": "lenet", "data": "mnist", "dropout": 2}, "dropout=2 does not work"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_says_what_to_type(fields: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        traintime.forecast(**{**RESNET, "device": "t4", **fields})


# Real steps


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_real_steps_tell_more_than_the_law():
    told = Told()
    answer = traintime.forecast(
        Small(), torch.zeros(8, 32), samples=8_000, pilot=6, device="cpu", listener=told
    )
    assert answer.evidence == "run on this machine"
    assert answer.assumptions[0].startswith("6 steps were taken here")
    assert "Taking 6 steps of Small" in told.lines[-1]
    assert answer.epoch_time_s.median == pytest.approx(1000 * answer.step_time_s.median)
    assert answer.step_time_s.high / answer.step_time_s.low < 1.2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"device": "rtx-3090", "pilot": 10}, "which only this machine can"),
        ({"device": "cpu", "pilot": 3}, "5 to 1,000 steps"),
        ({"device": "cpu", "pilot": 10, "batch_size": 10**9, "samples": 10**9}, "so none was"),
    ],
)
def test_steps_that_cannot_be_taken_are_refused(fields: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        traintime.forecast(Small(), torch.zeros(8, 32), **{"samples": 8_000, **fields})


def test_no_steps_of_a_model_without_its_code():
    with pytest.raises(InputError, match=r"by its operations alone.*model=timm:NAME"):
        traintime.forecast(**RESNET, pilot=10)
    with pytest.raises(InputError, match="on this machine, and device=t4 asks for another"):
        traintime.forecast(model="lenet", data="mnist", pilot=10, device="t4")
    with pytest.raises(InputError, match="on this machine, and samples=500 asks for another"):
        traintime.forecast(model="lenet", data="mnist", pilot=10, samples=500)
    with pytest.raises(InputError, match="several devices were asked for"):
        traintime.forecast_devices(**RESNET, devices="t4,v100-sxm2-16gb", pilot=10)


def test_what_is_no_module_or_loss_is_refused():
    batch = torch.zeros(8, 32)
    with pytest.raises(InputError, match=r"Small is a class; give an instance"):
        traintime.forecast(Small, batch, device="t4")
    with pytest.raises(InputError, match=r"5 is no function"):
        traintime.forecast(Small(), batch, device="t4", loss=5)
    with pytest.raises(InputError, match=r"leave loss= out"):
        traintime.forecast(model="resnet50", device="t4", loss=torch.sum)
    with pytest.raises(InputError, match=r"Give a torch module itself, first"):
        traintime.forecast(model=Small(), device="t4")
    with pytest.raises(InputError, match=r"leave model= out"):
        traintime.forecast(Small(), batch, model="resnet50", device="t4")


def test_what_a_model_prints_goes_where_errors_go(capsys: pytest.CaptureFixture[str]):
    class Chatty(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            print("here")
            return super().forward(x)

    traintime.forecast(Chatty(), torch.zeros(8, 32), device="t4")
    out, err = capsys.readouterr()
    assert not out
    assert "here" in err


def test_a_budget_is_of_this_machine():
    with pytest.raises(InputError, match=r"Leave budget= out and type epochs="):
        traintime.forecast(data="cifar10", model="resnet18", budget="10m", device="a100")


@pytest.mark.parametrize("model", ["net.py:build", "timm:resnet18", "hf:gpt2"])
def test_without_torch_a_model_of_ones_own_names_what_to_install(model: str, tmp_path: Path):
    (tmp_path / "net.py").write_text("def build(): ...\n")
    script = (
        "import sys; sys.modules['torch'] = None; import traintime\n"
        f"traintime.forecast(model={model!r}, samples=100, device='t4')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "MissingExtraError" in ended.stderr.splitlines()[-1]
    assert "pip install 'traintime[train]'" in ended.stderr.splitlines()[-1]
