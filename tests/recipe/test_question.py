from pathlib import Path
from typing import Any

import pytest

from traintime.errors import InputError
from traintime.recipe.question import (
    ONLY_ASKED,
    ONLY_TRAINED,
    Question,
    is_question,
    is_this_machine,
    read_question,
)

RESNET = ("model=resnet50", "data=imagenet")
OURS = {"mlp", "lenet", "resnet18"}, {"mnist", "cifar10"}


def message_of(*words: str, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_question(words, **fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("epochs=90", "epochs", 90),
        ("epochs=9e1", "epochs", 90),
        ("samples=1.2e6", "samples", 1_200_000),
        ("samples=none", "samples", None),
        ("validation_samples=0", "validation_samples", 0),
        ("batch-size=256", "batch_size", 256),
        ("accumulate=4", "accumulate", 4),
        ("tokens=none", "tokens", None),
        ("sharding=full", "sharding", "full"),
        ("sharding=FSDP", "sharding", "full"),
        ("sharding=ZeRO-3", "sharding", "full"),
        ("sharding=zero_1", "sharding", "optimizer"),
        ("sharding=optimizer", "sharding", "optimizer"),
        ("sharding=no", "sharding", "none"),
        ("recompute=true", "recompute", True),
        ("optimizer=muon", "optimizer", "muon"),
        ("input=3x224x224", "input", "3x224x224"),
        ("input=3×224×224", "input", "3x224x224"),
        ("input=3 x 224 x 224", "input", "3x224x224"),
        ("input=3,224,224", "input", "3x224x224"),
        ("input=[3, 224, 224]", "input", "3x224x224"),
        ("input=512", "input", "512"),
        ("input=512 tokens", "input", "512 tokens"),
        ("input=none", "input", None),
        ("precision=bf16", "precision", "amp"),
        ("precision=fp16", "precision", "amp"),
        ("precision=AMP", "precision", "amp"),
        ("precision=tf32", "precision", "tf32"),
        ("precision=half", "precision", "half"),
        ("memory_format=channels_last", "memory_format", "channels_last"),
        ("compile=true", "compile", True),
        ("device=rtx-3090", "device", "rtx-3090"),
        ("device=3090", "device", "3090"),
        ("device=rtx-3090,a100x4", "device", "rtx-3090,a100x4"),
        ("device=[rtx-3090, a100x4]", "device", "rtx-3090,a100x4"),
        ("device=4090,3090", "device", "4090,3090"),
        ("device=all", "device", "all"),
        ("model=hf:gpt2", "model", "hf:gpt2"),
        ("model=code/net.py:build", "model", "code/net.py:build"),
    ],
)
def test_a_word_is_read_as_it_is_meant(word: str, field: str, value: object):
    assert getattr(read_question([*RESNET, word]), field) == value


def test_what_is_not_given_is_left_to_model_and_device():
    question = read_question(RESNET)
    assert (question.epochs, question.batch_size, question.accumulate) == (1, 64, 1)
    assert (question.optimizer, question.input, question.samples) == (None, None, None)
    assert (question.precision, question.memory_format, question.device) == ("auto",) * 3
    assert question.compile is False
    assert (question.tokens, question.sharding, question.recompute) == (None, "none", False)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("epochs=0", "epochs=0 does not work: a whole number from 1 to 1,000,000 is expected"),
        ("epochs=-3", "try epochs=90"),
        ("epochs=1e9", "a whole number from 1 to 1,000,000 is expected"),
        ("epochs=1.5", "epochs=1.5 does not work: a whole number from 1 to 1,000,000 is expected"),
        ("epochs=inf", "epochs=inf does not work: a whole number from 1 to 1,000,000 is expected"),
        (
            "epochs=many",
            "epochs=many does not work: a whole number from 1 to 1,000,000 is expected",
        ),
        ("batch_size=0", "try batch_size=256"),
        ("batch_size=-8", "batch_size=-8 does not work"),
        ("batch_size=1e12", "from 1 to 1,000,000,000 is expected"),
        ("samples=0", "try samples=50000"),
        ("samples=1e18", "samples=1e+18 does not work"),
        ("tokens=0", "try tokens=300e9"),
        ("tokens=2e18", "a whole number from 1 to 1,000,000,000,000,000,000 is expected"),
        ("tokens=0.5", "tokens=0.5 does not work: a whole number from 1 to"),
        ("tokens=many", "tokens=many does not work"),
        ("sharding=zero2", "input should be 'none', 'optimizer' or 'full'"),
        ("sharding=tensor", "sharding=tensor does not work"),
        ("recompute=maybe", "recompute=maybe does not work"),
        ("validation_samples=-1", "try validation_samples=10000, or 0 for no validation"),
        ("optimizer=sdg", "input should be 'sgd', 'adam', 'adamw' or 'muon'"),
        ("precision=fp8", "input should be 'auto', 'fp32', 'tf32', 'amp' or 'half'"),
        ("memory_format=nhwc", "memory_format=nhwc does not work"),
        ("compile=maybe", "compile=maybe does not work"),
        ("model=7", "model=7 does not work: one word is expected"),
        ("model=", "model=none does not work: one word is expected"),
        ("model=[1, 2]", "model=1,2 does not work: one word is expected"),
        ("model=hf:", "model=hf: does not work: a name is expected"),
        ("model=timm:", "try model=resnet50, model=timm:NAME or hf:NAME"),
        ("device=", "device=none does not work: a name is expected; try device=rtx-3090"),
    ],
)
def test_a_bad_value_is_shown_with_what_is_expected(word: str, says: str):
    message = message_of(*RESNET, word)
    assert says in message
    assert message.endswith("`traintime forecast --help` explains each field.")
    assert len(message.splitlines()) == 2


def test_tokens_are_read_as_powers_of_ten():
    assert read_question(["model=gpt2", "tokens=300e9"]).tokens == 300_000_000_000


@pytest.mark.parametrize("beside", ["data=openwebtext", "samples=1000", "epochs=3"])
def test_tokens_and_another_size_are_one_too_many(beside: str):
    message = message_of("model=gpt2", "tokens=1e9", beside)
    assert "tokens=1,000,000,000 says how much is trained on in all, and so does " in message
    assert f"{beside}; leave one of both out" in message


def test_real_steps_compute_nothing_again():
    message = message_of("model=gpt2", "pilot=10", "recompute=true")
    assert "pilot=10 takes steps of the model as it is" in message


@pytest.mark.parametrize("accumulate", [0, -1, 65])
def test_a_batch_has_at_least_its_micro_batches(accumulate: int):
    message = message_of(*RESNET, accumulate=accumulate)
    assert f"a batch of 64 cannot be split into {accumulate} micro-batches" in message
    assert "try accumulate=8" in message


def test_a_step_alone_may_be_asked_about():
    for words in (["model=resnet50"], ["model=resnet50", "data=none"]):
        question = read_question(words)
        assert (question.data, question.samples) == (None, None)


def test_a_table_where_a_name_is_due_is_a_question_that_is_refused():
    assert is_question({"model": {"a": 1}, "data": "mnist"}, ("lenet",), ("mnist",))
    assert "model={'a': 1} does not work" in message_of(model={"a": 1}, data="mnist")


def test_an_empty_model_is_refused():
    assert "a name is expected; try model=resnet50" in message_of(*RESNET, model=" ")


def test_all_bad_fields_are_told_at_once():
    message = message_of(*RESNET, "epochs=0", "batch_size=0")
    assert "epochs=0" in message
    assert "batch_size=0" in message


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("data=imagenet",), "names no model; type for example model=resnet50"),
        (("model=resnet50", "batch_size=0"), "batch_size=0 does not work"),
        ((*RESNET, "nosuch=1"), "no field 'nosuch'. `traintime forecast --help`"),
        ((*RESNET, "batchsize=1"), "no field 'batchsize'. Did you mean 'batch_size'?"),
        ((*RESNET, "devise=t4"), "no field 'devise'. Did you mean 'device'?"),
        ((*RESNET, "qqq=1"), "no field 'qqq'. `traintime forecast --help`"),
        ((*RESNET, "lr=0.1"), "'lr' is for networks that traintime trains itself"),
        ((*RESNET, "target=accuracy:0.9"), "Leave target= out"),
        ((*RESNET, "resnet9"), "'resnet9' is neither key=value nor a YAML file"),
    ],
)
def test_what_cannot_be_asked_says_what_to_type(words: tuple[str, ...], says: str):
    assert says in message_of(*words)


def test_a_file_may_ask(tmp_path: Path):
    path = tmp_path / "question.yaml"
    path.write_text("model: resnet50\nsamples: 1e6\ndevice: [t4, a100x4]\nepochs: 3\n")
    question = read_question([str(path), "epochs=4"])
    assert (question.samples, question.device, question.epochs) == (10**6, "t4,a100x4", 4)


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, False),
        ({"model": "lenet", "data": "mnist"}, False),
        ({"model": "lenet", "data": "mnist", "device": "auto"}, False),
        ({"model": "lenet", "data": "mnist", "device": "cpu"}, False),
        ({"model": "lenet", "data": "mnist", "device": "cuda:1"}, False),
        ({"model": "lenet", "data": "mnist", "lr": 0.1}, False),
        ({"model": "lenet", "data": "mnist", "precision": "bf16"}, False),
        ({"model": "lenet"}, False),
        ({"data": "mnist"}, False),
        ({"model": "lennet", "data": "mnist", "lr": 0.1}, False),
        ({"model": "lenet", "data": "mnist", "device": "t4"}, True),
        ({"model": "lenet", "data": "mnist", "device": 3090.0}, True),
        ({"model": "lenet", "data": "mnist", "device": "all"}, True),
        ({"model": "lenet", "data": "mnist", "device": ("t4", "a100")}, True),
        ({"model": "lenet", "data": "mnist", "lr": 0.1, "device": "t4"}, True),
        ({"model": "resnet50", "data": "imagenet"}, True),
        ({"model": "resnet18", "data": "imagenet"}, True),
        ({"model": "resnet50", "data": "cifar10"}, True),
        ({"model": "lenet", "samples": 100}, True),
        ({"model": "resnet18", "data": "cifar10", "input": "3x224x224"}, True),
    ],
)
def test_what_our_trainer_can_run_here_is_no_question(fields: dict[str, Any], asked: bool):
    assert is_question(fields, *OURS) is asked


@pytest.mark.parametrize(
    ("device", "here"),
    [(None, True), ("auto", True), ("cuda:3", True), ("cpu", True), ("cpu-epyc-7763", False)],
)
def test_this_machine_is_told_from_the_catalogue(device: str | None, here: bool):
    assert is_this_machine(device) is here


def test_a_question_cannot_be_changed():
    question = read_question(RESNET)
    with pytest.raises(ValueError, match="frozen"):
        question.epochs = 3


def test_every_field_is_described():
    assert all(field.description for field in Question.model_fields.values())
    of_questions = {
        "samples",
        "tokens",
        "validation_samples",
        "input",
        "sharding",
        "recompute",
    }
    assert of_questions == ONLY_ASKED
    assert {"lr", "target", "hidden", "seed"} < ONLY_TRAINED
