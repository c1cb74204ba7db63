import os
import re
from pathlib import Path

import pytest
import yaml

from traintime.errors import InputError
from traintime.recipe import Recipe, read_recipe
from traintime.recipe.parse import make_recipe, read_fields

LENET = ("data=mnist", "model=lenet")


def message_of(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        read_recipe(words)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("lr=1e-3", "lr", 0.001),
        ("lr=.5", "lr", 0.5),
        ("epochs=3", "epochs", 3),
        ("epochs=2e1", "epochs", 20),
        ("batch_size=1_000", "batch_size", 1000),
        ("batch-size=64", "batch_size", 64),
        ("flip=true", "flip", True),
        ("flip=no", "flip", False),
        ("compile=1", "compile", True),
        ("split=0.8,0.1,0.1", "split", (0.8, 0.1, 0.1)),
        ("split=[0.8, 0.1, 0.1]", "split", (0.8, 0.1, 0.1)),
        ("hidden=128,64", "hidden", (128, 64)),
        ("hidden=64", "hidden", (64,)),
        ("hidden=[]", "hidden", ()),
        ("target=accuracy:0.9", "target", "accuracy:0.9"),
        ("target=accuracy:0.90", "target", "accuracy:0.9"),
        ("target=none", "target", None),
        ("target=", "target", None),
        ("train_samples=none", "train_samples", None),
        ("activation='gelu'", "activation", "gelu"),
        ("device=cuda:1", "device", "cuda:1"),
    ],
)
def test_a_word_is_read_as_it_is_meant(word: str, field: str, value: object):
    assert getattr(read_recipe([*LENET, word]), field) == value


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("lr=-1", "lr=-1 does not work: input should be greater than 0"),
        ("lr=0", "lr=0 does not work: input should be greater than 0"),
        ("lr=nan", "lr=nan does not work: a finite number is expected"),
        ("lr=inf", "lr=inf does not work: a finite number is expected"),
        ("lr=fast", "lr=fast does not work: a number is expected"),
        ("lr=", "lr=none does not work: a number is expected"),
        ("lr=1,5", "lr=1,5 does not work: a number is expected"),
        ("seed=-1", "seed=-1 does not work: input should be greater than or equal to 0"),
        ("seed=2147483648", "does not work: input should be less than 2147483648"),
        ("seed=1.5", "seed=1.5 does not work: a whole number is expected"),
        ("seed=inf", "seed=inf does not work: a finite number is expected"),
        ("epochs=0", "epochs=0 does not work: input should be greater than or equal to 1"),
        ("epochs=many", "epochs=many does not work: a whole number is expected"),
        ("batch_size=0", "at least 1 sample, not 0; try batch_size=64"),
        ("batch_size=-8", "at least 1 sample, not -8; try batch_size=64"),
        ("batch_size=nan", "batch_size=nan does not work: a finite number is expected"),
        ("batch_size=1e400", "batch_size=inf does not work: a finite number is expected"),
        ("batch_size=big", "batch_size=big does not work: a whole number is expected"),
        ("train_samples=0", "train_samples=0 does not work"),
        ("split=0.5,0.2,0.1", "split=0.5,0.2,0.1 does not work: three positive shares sum to 1"),
        ("split=1.2,-0.1,-0.1", "try split=0.7,0.15,0.15"),
        ("split=0.5,0.5", "split=0.5,0.5 does not work: a value is missing"),
        ("split=a,b,c", "split=a,b,c does not work: a number is expected"),
        ("validation=1", "validation=1 does not work: input should be less than 1"),
        ("validation=0", "validation=0 does not work: input should be greater than 0"),
        ("validate_on=train", "input should be 'validation' or 'test'"),
        ("crop=17", "crop=17 does not work: input should be less than or equal to 16"),
        ("cutout=-1", "cutout=-1 does not work"),
        ("flip=maybe", "flip=maybe does not work: true or false is expected"),
        ("hidden=128,0", "hidden=128,0 does not work: every hidden layer has at least 1 unit"),
        ("hidden=wide", "hidden=wide does not work"),
        ("activation=swish", "input should be 'relu', 'leaky_relu', 'gelu', 'silu' or 'tanh'"),
        ("dropout=1", "dropout=1 does not work: input should be less than 1"),
        ("accumulate=257", "a batch of 256 cannot be split into 257 micro-batches; try accumul"),
        ("accumulate=0", "accumulate=0 does not work"),
        ("patience=-1", "patience=-1 does not work"),
        ("monitor=f1", "monitor=f1 does not work: input should be 'accuracy' or 'loss'"),
        ("optimizer=adagrad", "input should be 'sgd', 'adam', 'adamw' or 'muon'"),
        ("optimizer=[sgd]", "optimizer=sgd does not work: input should be 'sgd', 'adam'"),
        ("momentum=1", "momentum=1 does not work: input should be less than 1"),
        ("muon_iterations=11", "muon_iterations=11 does not work"),
        ("weight_decay=-0.1", "weight_decay=-0.1 does not work"),
        ("schedule=linear", "input should be 'constant', 'step', 'cosine' or 'one_cycle'"),
        ("decay_factor=1", "decay_factor=1 does not work"),
        (
            "precision=fp16",
            "precision=fp16 does not work: input should be 'auto', 'fp32' or 'bf16'",
        ),
        ("memory_format=nhwc", "memory_format=nhwc does not work"),
        ("convolution=fft", "input should be 'auto', 'native' or 'fused'"),
        ("checkpoint_every_s=-1", "checkpoint_every_s=-1 does not work"),
        ("model=7", "model=7 does not work: one word is expected"),
        ("data=none", "data=none does not work: one word is expected"),
    ],
)
def test_a_bad_value_is_shown_with_what_is_expected(word: str, says: str):
    message = message_of(*LENET, word)
    assert says in message
    assert "`traintime train --help` explains each field." in message
    assert len(message.splitlines()) == 2, "one line for the one field, and the next step"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("target=f1:0.9", "type for example target=accuracy:0.9"),
        ("target=accuracy:99", "Type target=accuracy:0.99"),
        ("target=0.99", "'0.99' names no known metric"),
        ("target=true", "type for example target=accuracy:0.9"),
        ("learning_rat=1", "A recipe has no field 'learning_rat'. `traintime train --help`"),
        ("batchsize=1", "A recipe has no field 'batchsize'. Did you mean 'batch_size'?"),
        ("optimiser=sgd", "A recipe has no field 'optimiser'. Did you mean 'optimizer'?"),
        ("=3", "A recipe has no field ''"),
        (
            "resnet9",
            "'resnet9' is neither key=value nor a YAML file; type for example model=resnet9",
        ),
        ("model=[a", "The value of 'model=[a' cannot be read; `traintime train --help`"),
        ("seed=2020-13-45", "The value of 'seed=2020-13-45' cannot be read"),
        ("missing.yaml", "There is no recipe file 'missing.yaml'; check the path with: ls"),
    ],
)
def test_a_word_that_cannot_be_used_says_what_to_type(word: str, says: str):
    assert says in message_of(*LENET, word)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "The recipe names no data; type for example data=mnist"),
        (("model=lenet",), "The recipe names no data; type for example data=mnist"),
        (("data=mnist",), "The recipe names no model; type for example model=lenet"),
    ],
)
def test_data_and_model_must_be_named(words: tuple[str, ...], says: str):
    assert message_of(*words) == says


def test_all_bad_fields_are_told_at_once():
    message = message_of(*LENET, "lr=-1", "epochs=0")
    assert "lr=-1" in message
    assert "epochs=0" in message


def test_adam_is_not_given_decoupled_weight_decay():
    message = message_of(*LENET, "optimizer=adam", "weight_decay=0.1")
    assert message.startswith("The recipe does not fit together: adam has no decoupled weight")
    assert "type optimizer=adamw, or l2=" in message


def test_fields_win_over_words_and_later_words_over_earlier_ones(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data: mnist\nmodel: lenet\nepochs: 2\nlr: 1e-3\nseed: 5\nhidden: 32\n")
    recipe = read_recipe(["epochs=1", str(path), "seed=6", "lr=0.1"], lr=0.2)
    assert (recipe.epochs, recipe.seed, recipe.lr, recipe.hidden) == (2, 6, 0.2, (32,))


def test_a_yaml_file_may_say_none_and_1e_3_as_the_command_line_does(tmp_path: Path):
    path = tmp_path / "recipe.yml"
    path.write_text("data: mnist\nmodel: lenet\nlr: 1e-3\ntarget: none\ntrain_samples: null\n")
    recipe = read_recipe([str(path)])
    assert (recipe.lr, recipe.target, recipe.train_samples) == (0.001, None, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no 'key: value' lines; write for example data: mnist"),
        (b"- data\n- model\n", "holds no 'key: value' lines"),
        (b"data: [mnist", "cannot be read as YAML"),
        (b"data: 2020-13-45", "cannot be read as YAML (month must be in 1..12)"),
        (b"\xff\xfe\xfa", "cannot be read as YAML"),
        (b"data: mnist\nmodle: lenet\n", "no field 'modle'. Did you mean 'model'?"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes, says: str):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    message = message_of(str(path))
    assert says in message
    assert "modle" in message or str(path) in message


def test_a_folder_is_no_recipe_file(tmp_path: Path):
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read as YAML" in message_of(str(tmp_path / "folder.yaml"))


def test_a_path_below_the_users_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.yaml").write_text("data: digits\nmodel: mlp\n")
    monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
    assert read_recipe(["~/mine.yaml"]).data == "digits"


@pytest.mark.parametrize(
    "words",
    [
        LENET,
        ("data=cifar10", "model=resnet9", "lr=1e-5", "target=loss:0.1", "train_samples=5000"),
        ("data=digits", "model=mlp", "hidden=64,32", "split=0.6,0.2,0.2", "weight_decay=1e-10"),
        ("data=mnist", "model=mlp", "hidden=[]", "optimizer=adam"),
    ],
)
def test_a_recipe_survives_being_written_and_read(tmp_path: Path, words: tuple[str, ...]):
    recipe = read_recipe(words)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert read_recipe([str(path)]) == recipe
    assert make_recipe(recipe.model_dump()) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_time_of_day_is_read_as_it_is_typed():
    recipe = read_recipe(["data=mnist", "model=lenet", "budget=23:59"])
    assert recipe.budget is not None
    assert "T23:59:00" in recipe.budget
    assert recipe.time_budget is not None
    assert recipe.epochs == 10_000
    assert read_recipe(**recipe.model_dump()) == recipe
    assert read_recipe(["data=mnist", "model=lenet", "budget=1h", "epochs=7"]).epochs == 7


@pytest.mark.parametrize(
    ("word", "example"),
    [("rows.csv", "data=rows.csv"), ("resnet50", "model=resnet50"), ("lr", "lr=...")],
)
def test_a_lone_word_is_advised_by_what_it_looks_like(word: str, example: str):
    with pytest.raises(InputError, match=f"type for example {re.escape(example)}$"):
        read_fields([word])


def test_a_run_needs_no_pilot():
    with pytest.raises(InputError, match=r"pilot=10 is for `traintime forecast`"):
        make_recipe({"data": "mnist", "model": "lenet", "pilot": 10})
