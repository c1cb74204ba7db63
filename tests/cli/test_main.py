import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import traintime
from tests.api.known_machine import QUICK, as_words
from traintime.api import runs as runs_api
from traintime.cli import main as main_module
from traintime.cli.main import app
from traintime.data import fetch
from traintime.errors import DataUnavailableError
from traintime.recipe import Recipe
from traintime.train import checkpoints
from traintime.train.loop import Loop

WORDS = as_words(**QUICK)
ESCAPE_OR_BOX = re.compile(r"[\x1b\r╭╮╯╰│━┃┏┓┗┛█]")


def type_in(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def train(*words: str) -> str:
    """Train the quick job and return the name of the run."""
    result = type_in("train", *WORDS, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["run"]


def assert_refused(result: Result, *parts: str, exit_code: int = 2) -> None:
    """A message on stderr that names each part, no traceback, and nothing on stdout."""
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert isinstance(result.exception, SystemExit)
    for part in parts:
        assert part in result.stderr


# Bad input


@pytest.mark.parametrize("verb", ["train", "forecast"])
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["data=mnits"], ["No data set named 'mnits'", "Did you mean 'mnist'", "data=mnist"]),
        (["model=lennet"], ["lennet", "Did you mean 'lenet'"]),
        (["device=cuda:63"], ["cuda:63", "device="]),
        (["epohcs=3"], ["no field 'epohcs'", "Did you mean 'epochs'", "traintime train --help"]),
        (["target=accuracy:1.2"], ["cannot reach 1.2", "target=accuracy:0.9"]),
        (["target=accuracy:99"], ["cannot reach 99", "target=accuracy:0.99"]),
        (["target=f1:0.9"], ["names no known metric", "target=accuracy:0.9"]),
        (["batch_size=0"], ["at least 1 sample", "batch_size=64"]),
        (["batch_size=1258"], ["1,258", "1,257", "batch_size=1024"]),
        (["train_samples=100000"], ["100,000", "train_samples=1257"]),
        (["epochs=0"], ["epochs=0 does not work", "traintime train --help"]),
        (["lr=nan"], ["lr=nan does not work", "traintime train --help"]),
        (["optimizer=sdg"], ["optimizer=sdg does not work", "sgd"]),
        (["accumulate=99", "batch_size=64"], ["cannot be split", "accumulate=64"]),
        (["nothing.yaml"], ["no recipe file 'nothing.yaml'", "ls"]),
        (["lenet"], ["neither key=value nor a YAML file", "model=lenet"]),
        (["convolution=fused"], ["convolution=native"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_recipe_is_refused_with_what_to_type(
    verb: str, words: list[str], parts: list[str], home: Path
) -> None:
    words = [w for w in WORDS if w.split("=")[0] not in {v.split("=")[0] for v in words}] + words
    assert_refused(type_in(verb, *words), *parts)
    assert not (home / "runs").exists()


def test_cutout_that_leaves_nothing_is_refused_with_what_to_type() -> None:
    result = type_in("train", *WORDS, "cutout=8")
    assert result.exit_code == 2
    assert "8×8" in result.stderr
    assert "cutout=2" in result.stderr


@pytest.mark.parametrize("missing", ["data", "model"])
def test_recipe_without_data_or_model_says_what_to_type(missing: str) -> None:
    words = [word for word in WORDS if not word.startswith(f"{missing}=")]
    assert_refused(type_in("train", *words), f"names no {missing}", f"{missing}=")


def test_yaml_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    for text in ("data: [", "- data", "data: mnist\nepohcs: 3"):
        path.write_text(text)
        assert_refused(type_in("train", str(path)))


def test_unknown_verb_is_refused_with_the_nearest_one() -> None:
    assert_refused(type_in("trian"), "No such command 'trian'", "train")


def test_unknown_run_is_refused() -> None:
    for verb in ("show", "resume", "delete"):
        result = type_in("runs", verb, "nonsense")
        assert_refused(result, "no run named 'nonsense'", "traintime runs list")
    assert_refused(type_in("runs", "show", "latest"), "no run yet", "traintime demo")


def test_finished_run_is_not_resumed() -> None:
    name = train()
    assert_refused(type_in("runs", "resume", name), f"'{name}' is finished", "traintime train '")


def test_run_of_another_version_is_refused() -> None:
    folder = runs_api.find_run(train()).path
    (folder / "format.json").write_text(json.dumps({"format": 99, "traintime": "7.0"}))
    for verb in ("show", "resume"):
        result = type_in("runs", verb, "latest")
        assert_refused(result, "format 99", "pip install 'traintime==7.0'")


def test_deleting_asks_and_without_a_terminal_refuses() -> None:
    name = train()
    assert_refused(type_in("runs", "delete", name), f"traintime runs delete {name} --yes")
    assert runs_api.find_run(name).path.is_dir()
    deleted = type_in("runs", "delete", name, "--yes")
    assert (deleted.exit_code, deleted.stdout) == (0, f"Deleted {name}\n")
    assert type_in("runs", "list").stdout == "No run yet; make one with: traintime demo\n"


def test_run_whose_folder_is_gone_can_be_deleted_as_its_message_says() -> None:
    name = train()
    runs_api.find_run(name).delete()
    assert_refused(type_in("runs", "show", name), f"traintime runs delete {name}")
    assert type_in("runs", "delete", name).exit_code == 0
    assert runs_api.list_runs() == []


def test_diverging_ends_with_one_and_says_at_which_step() -> None:
    result = type_in("train", *WORDS, "optimizer=sgd", "lr=1e9", "warmup=0", "checkpoint_every_s=0")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert re.search(r"diverged at step \d+: the (validation )?loss is", result.stderr)
    assert "Try a smaller learning rate: lr=0.05" in result.stderr
    folder = runs_api.find_run("latest")
    assert re.search("last good checkpoint is '.*step-|No checkpoint was due yet", result.stderr)
    assert not folder.is_finished


def test_full_disk_ends_with_one_and_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", refuse_to_write)
    result = type_in("train", *WORDS, "checkpoint_every_s=0")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "The disk is full" in result.stderr
    assert "df -h" in result.stderr


def test_full_disk_at_a_checkpoint_is_said_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "save_file", refuse_to_write)
    result = type_in("train", *WORDS, "checkpoint_every_s=0")
    assert result.exit_code == 0, result.output
    assert "is not on disk (there is none yet): The disk is full" in unwrapped(result.stdout)


def refuse_to_write(*_: object) -> None:
    raise OSError(28, "No space left on device")


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_data_that_cannot_be_had_ends_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(name: str, say: Any) -> None:
        raise DataUnavailableError("None of its sources gave it. Try again with a network")

    monkeypatch.setattr(fetch, "load_raw", unavailable)
    result = type_in("train", *WORDS)
    assert result.exit_code == 1
    assert "Try again with a network" in result.stderr


def test_damaged_cache_file_is_named_and_fetched_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "cache" / "data" / "mnist"
    folder.mkdir(parents=True)
    for part, size in (("train_images", 47040000), ("train_labels", 60000)):
        (folder / f"{part}.npy").write_bytes(bytes(size + 80))
    for part, size in (("test_images", 7840000), ("test_labels", 10000)):
        (folder / f"{part}.npy").write_bytes(bytes(size + 80))

    def no_network(*_: object) -> None:
        raise fetch.SourceError("is not reachable")

    monkeypatch.setattr(fetch, "obtain", no_network)
    result = type_in("train", *WORDS, "data=mnist")
    assert result.exit_code == 1
    assert "is damaged" in result.output
    assert "data=digits" in result.stderr


def test_error_keeps_a_command_in_one_piece(tmp_path: Path) -> None:
    long = tmp_path / ("a" * 100) / ("b" * 100)
    result = type_in("train", f"{long}.yaml")
    assert f"'{long}.yaml'" in result.stderr


def test_interrupt_before_training_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(name: str, say: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "load_raw", interrupt)
    result = type_in("train", *WORDS)
    assert result.exit_code == 130
    assert "traintime runs list" in result.stderr
    assert runs_api.list_runs()[0].status == "failed"


# One JSON document


def documents_in(text: str) -> list[Any]:
    decoder, found = json.JSONDecoder(), []
    while text.strip():
        value, end = decoder.raw_decode(text.lstrip())
        found.append(value)
        text = text.lstrip()[end:]
    return found


def one_document(result: Result) -> Any:
    (value,) = documents_in(result.stdout)
    json.dumps(value, allow_nan=False)
    assert result.stdout.count("\n") == 1
    return value


def test_each_verb_prints_one_json_document() -> None:
    first = train()
    second = one_document(type_in("train", *WORDS, "epochs=1", "--json"))["run"]
    assert one_document(type_in("forecast", *WORDS, "--json"))["evidence"]
    assert one_document(type_in("machine", "--device", "cpu", "--json"))["rates"]
    assert len(one_document(type_in("runs", "list", "--json"))) == 2
    assert one_document(type_in("runs", "show", first, "--json"))["run"] == first
    assert len(one_document(type_in("runs", "compare", first, second, "--json"))) == 2
    assert one_document(type_in("runs", "delete", first, "--yes", "--json")) == {"deleted": first}


@pytest.mark.parametrize("words", [["measure"], ["--measure"]])
def test_the_machine_is_measured_again_by_word_or_option(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from traintime.cli import verbs

    asked: list[bool | None] = []
    describe = verbs.describe_machine

    def describe_anew(device: str, *, measure: bool | None, **_: Any) -> Any:
        asked.append(measure)
        return describe(device)

    monkeypatch.setattr(verbs, "describe_machine", describe_anew)
    assert one_document(type_in("machine", *words, "--json"))["rates"]
    assert asked == [True]


def test_demo_prints_one_json_document(monkeypatch: pytest.MonkeyPatch) -> None:
    from traintime.api import demo

    load_raw = fetch.load_raw

    def load(name: str, say: Any) -> fetch.RawImages:
        if name == "mnist":
            raise DataUnavailableError("no network")
        return load_raw(name, say)

    monkeypatch.setattr(fetch, "load_raw", load)
    monkeypatch.setattr(demo, "WITHOUT_NETWORK", QUICK)
    assert one_document(type_in("demo", "--json"))["status"] == "finished"


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (["train", "data=mnits", "model=lenet"], 2),
        (["forecast", *WORDS, "batch_size=0"], 2),
        (["train", *WORDS, "optimizer=sgd", "lr=1e9", "warmup=0"], 1),
        (["machine", "--device", "cuda:63"], 2),
        (["runs", "show", "nonsense"], 2),
        (["runs", "resume", "nonsense"], 2),
        (["runs", "delete", "nonsense", "--yes"], 2),
        (["runs", "compare", "nonsense"], 2),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_error_is_one_json_document_too(words: list[str], exit_code: int) -> None:
    result = type_in(*words, "--json")
    failure = one_document(result)
    assert failure.keys() == {"error", "message", "exit_code"}
    assert failure["exit_code"] == result.exit_code == exit_code


@pytest.mark.parametrize(
    "words", [["trian", "--json"], ["runs", "show", "--json"], ["forecast", "--nonsense", "--json"]]
)
def test_bad_usage_is_one_json_document_too(
    words: Sequence[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["traintime", *words])
    with pytest.raises(SystemExit) as ended:
        main_module.main()
    printed = capsys.readouterr()
    (failure,) = documents_in(printed.out)
    assert (failure["exit_code"], ended.value.code) == (2, 2)
    assert "traintime --help" in failure["message"]


def test_exit_code_is_kept_in_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, code in ((["runs", "list"], 0), (["runs", "show", "nonsense"], 2)):
        monkeypatch.setattr("sys.argv", ["traintime", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            main_module.main()
        assert ended.value.code == code
        assert len(documents_in(capsys.readouterr().out)) == 1


# What a person sees


def test_help_names_every_verb() -> None:
    text = type_in("--help").stdout
    for verb in ("train", "forecast", "demo", "machine", "runs"):
        assert verb in text


@pytest.mark.parametrize(
    "verb",
    ["train", "forecast", "demo", "machine", "models", "data", "runs"]
    + [f"runs {verb}" for verb in ("list", "show", "resume", "delete", "compare")],
)
def test_each_verb_explains_itself(verb: str) -> None:
    for option in ("--help", "-h"):
        result = type_in(*verb.split(), option)
        assert result.exit_code == 0
        assert f"traintime {verb}" in result.stdout or f"root {verb}" in result.stdout
        assert "--json" in result.stdout or verb == "runs"


@pytest.mark.parametrize("verb", ["train", "forecast"])
def test_help_explains_every_field_of_a_recipe(verb: str) -> None:
    text = type_in(verb, "--help").stdout
    words = " ".join(text.split())
    for name, field in Recipe.model_fields.items():
        assert re.search(rf"^ *{name} ", text, re.MULTILINE), name
        assert field.description, name
        assert field.description.split()[0] in words


def test_version_is_printed() -> None:
    assert type_in("--version").stdout == f"traintime {traintime.__version__}\n"


def test_piped_training_is_plain_lines() -> None:
    result = type_in("train", *WORDS)
    assert result.exit_code == 0
    assert not ESCAPE_OR_BOX.search(result.stdout + result.stderr)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 400
    for epoch in ("epoch 1/2", "epoch 2/2"):
        assert sum(epoch in line for line in lines) == 1
    assert re.search(r"^forecast .* took .* report: .*report\.html$", lines[-1])


def test_piped_progress_prints_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traintime.cli.progress.PLAIN_EVERY_S", 0.0)
    result = type_in("train", *WORDS, "target=accuracy:0.999")
    assert re.search(
        r"step \d+/\d+  epoch \d\.\d+  loss .* samples/s  end in .* target in", result.stdout
    )
    assert not ESCAPE_OR_BOX.search(result.stdout)


def test_other_piped_output_is_plain() -> None:
    first, second = train(), train("dropout=0.5")
    for words in (
        ["forecast", *WORDS, "target=accuracy:0.9"],
        ["machine", "--device", "cpu", "--details"],
        ["runs", "list"],
        ["runs", "show", first],
        ["runs", "compare", first, second],
    ):
        result = type_in(*words)
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.stdout
        assert result.stdout.strip()


def test_words_and_python_give_the_same_recipe() -> None:
    name = train()
    by_python = traintime.train(**QUICK)
    texts = {
        (folder / "recipe.yaml").read_text()
        for folder in (runs_api.find_run(name).path, by_python.folder)
    }
    assert len(texts) == 1


def test_stopped_run_says_how_to_go_on_and_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Loop._step

    def step_and_ask_to_stop(self: Loop, position: int) -> object:
        if self.progress.step == 4:
            self.stop.signal_number = 2
        return step(self, position)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", step_and_ask_to_stop)
        result = type_in("train", *WORDS)
    name = runs_api.list_runs()[0].name
    assert result.exit_code == 130
    assert f"traintime runs resume {name}" in result.stderr
    resumed = type_in("runs", "resume", name)
    assert resumed.exit_code == 0
    assert "Going on from step 5" in resumed.stdout
