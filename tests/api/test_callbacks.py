import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import traintime
from traintime.api.callbacks import Callbacks, checked_callbacks
from traintime.errors import InputError, TraintimeError
from traintime.ledger.run_folder import RunFolder
from traintime.train.records import EpochRecord, Observer, Start, StepRecord

from .known_machine import QUICK, records

DOCS = Path(__file__).parents[2] / "docs" / "callbacks.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


class Diary(traintime.Callback):
    def __init__(self) -> None:
        self.told: list[object] = []

    def on_start(self, start: Start) -> None:
        self.told.append(start)

    def on_steps(self, record: StepRecord) -> None:
        self.told.append(record)

    def on_epoch(self, record: EpochRecord) -> None:
        self.told.append(record)

    def on_end(self, status: str) -> None:
        self.told.append(status)


class Fails(traintime.Callback):
    """Raises in one hook, as often as it is called."""

    def __init__(self, hook: str, error: BaseException) -> None:
        self.calls = 0

        def fail(*_: object) -> None:
            self.calls += 1
            raise error

        setattr(self, hook, fail)


def train_until_it_fails(callback: traintime.Callback, **fields: object) -> tuple[str, str]:
    """Return the run's name and what was said."""
    with pytest.raises(TraintimeError) as raised:
        traintime.train(**QUICK, **fields, callbacks=[callback])
    assert raised.value.exit_code == 1
    (row,) = traintime.list_runs()
    assert row.status == "failed"
    return row.name, str(raised.value)


def test_a_callback_is_told_what_the_run_folder_keeps():
    diary = Diary()
    result = traintime.train(**QUICK, callbacks=[diary])
    start, *between, end = diary.told
    assert isinstance(start, Start)
    assert start.first_step == 0
    assert end == "finished"
    steps = [vars(told) for told in between if isinstance(told, StepRecord)]
    epochs = [vars(told) for told in between if isinstance(told, EpochRecord)]
    assert steps == records(result.folder, "steps")
    assert epochs == records(result.folder, "epochs")


def test_a_callback_ends_training_with_its_reason():
    class Enough(traintime.Callback):
        def stop_reason(self) -> str:
            return "it is lunch time"

    result = traintime.train(**QUICK, callbacks=[Diary(), Enough()])
    assert (result.status, result.epochs) == ("stopped early", 1)
    assert result.reason == "it is lunch time"


def test_a_reason_that_is_no_text_says_whose_it_is():
    class Enough(traintime.Callback):
        def stop_reason(self) -> str:
            return True  # type: ignore[return-value]

    assert traintime.train(**QUICK, callbacks=[Enough()]).reason == "Enough returned True"


@pytest.mark.parametrize(
    "hook", ["on_start", "on_steps", "on_epoch", "on_checkpoint", "stop_reason", "on_end"]
)
def test_a_run_whose_callback_fails_is_saved_and_ends_as_if_nothing_had_been(hook: str):
    undisturbed = traintime.train(**QUICK)
    wanted = load_file(undisturbed.folder / "model.safetensors")
    traintime.delete_run(undisturbed.run)
    callback = Fails(hook, ZeroDivisionError("division by zero"))
    run, said = train_until_it_fails(callback, checkpoint_every_s=0)
    assert f"The callback Fails failed in {hook} (test_callbacks.py, line " in said
    assert "ZeroDivisionError: division by zero. The run is saved at step " in said
    assert f"traintime.resume('{run}', callbacks=[...])" in said
    assert callback.calls == 1
    diary = Diary()
    result = traintime.resume(run, callbacks=[diary])
    assert result.status == "finished"
    assert diary.told[-1] == "finished"
    ours = load_file(result.folder / "model.safetensors")
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_a_callback_that_calls_exit_loses_nothing_either():
    run, said = train_until_it_fails(Fails("on_epoch", SystemExit(3)))
    assert "SystemExit: 3" in said
    step = int(re.findall(r"saved at step (\d+)", said)[0])
    (row,) = traintime.list_runs()
    checkpoints = RunFolder(Path(row.folder)).checkpoints
    assert [path.name for path in checkpoints.iterdir()] == [f"step-{step:09d}.safetensors"]
    assert traintime.resume(run).status == "finished"


def test_a_hook_with_other_arguments_is_named():
    class Wrong(traintime.Callback):
        def on_epoch(self) -> None:  # type: ignore[override]
            pass

    _, said = train_until_it_fails(Wrong())
    assert "The callback Wrong failed in on_epoch: TypeError: " in said
    assert "takes 1 positional argument but 2 were given" in said


def test_what_cannot_be_saved_is_not_said_to_be():
    def save() -> None:
        raise OSError(28, "No space left on device")

    callbacks = Callbacks([Fails("on_end", ValueError("mine"))], save, "my-run")
    with pytest.raises(TraintimeError, match=r"ValueError: mine\. It could not be saved now"):
        callbacks.on_end("finished")


def test_after_a_failure_no_callback_is_called_again():
    diary = Diary()
    callbacks = Callbacks(
        [diary, Fails("on_end", ValueError())], lambda: callbacks.on_checkpoint(7), "my-run"
    )
    with pytest.raises(TraintimeError, match="saved at step 7"):
        callbacks.on_end("finished")
    callbacks.on_end("finished")
    assert diary.told == ["finished"]


def test_every_hook_of_an_observer_reaches_the_callbacks():
    hooks = [name for name, _ in inspect.getmembers(Observer, inspect.isfunction)]
    called: list[str] = []

    class All(traintime.Callback):
        def __getattribute__(self, name: str) -> object:
            return lambda *_: called.append(name)

    callbacks = Callbacks([All()], lambda: None, "my-run")
    for hook in hooks:
        count = len(inspect.signature(getattr(Observer, hook)).parameters) - 1
        getattr(callbacks, hook)(*[None] * count)
    assert called == hooks
    assert {"on_start", "on_change", "on_event", "stop_reason"} <= set(hooks)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Diary(), r"is no list\. Type: callbacks=\[Diary\(\)\], even if there is only one"),
        (Diary, r"is no list\. Type: callbacks=\[Diary\(\)\]"),
        (None, r"callbacks=None is no list\. Type: callbacks=\[MyCallback\(\)\]"),
        ([Diary], r"no object of a traintime\.Callback.*type: callbacks=\[Diary\(\)\]"),
        ([print], r"Write class MyCallback\(traintime\.Callback\), then type: callbacks=\[MyCa"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_done(given: object, said: str):
    with pytest.raises(InputError, match=said):
        traintime.train(**QUICK, callbacks=given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        traintime.resume("latest", callbacks=given)  # type: ignore[arg-type]
    assert traintime.list_runs() == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("on_epoch_end", "on_epoch"),
        ("on_epochs", "on_epoch"),
        ("onEpoch", "on_epoch"),
        ("on_step", "on_steps"),
        ("stop_reasons", "stop_reason"),
    ],
)
def test_a_misspelt_hook_is_refused_with_the_name_that_was_meant(typed: str, meant: str):
    callback = type("Mine", (Diary,), {typed: lambda self, record: None})()
    with pytest.raises(InputError, match=rf"Mine\.{typed} is no hook.* Did you mean '{meant}'\?"):
        traintime.train(**QUICK, callbacks=[callback])
    assert traintime.list_runs() == []


def test_methods_and_values_of_ones_own_are_let_be():
    class Other:
        def on_train_start(self) -> None: ...

    class Mine(Diary, Other):
        on_schedule = True

        def start(self) -> None: ...

        def checkpoint(self) -> None: ...

        def stop_run(self) -> None: ...

        def only_once(self) -> None: ...

        def _on_batch(self) -> None: ...

    assert len(checked_callbacks([Mine()])) == 1


def test_a_callback_can_be_written_without_torch():
    code = "import sys, traintime; traintime.Callback; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_examples_of_the_docs_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    log_and_stop, fail_and_mend = EXAMPLES
    exec(log_and_stop, {})
    rows = (tmp_path / "validations.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4", "5"]
    exec(fail_and_mend, {})
    said = capsys.readouterr().out
    assert "AttributeError: 'NoneType' object has no attribute 'lower'" in said
    assert said.endswith("to me@example.org: epoch 3 is done\n")
    assert [row.status for row in traintime.list_runs()] == ["finished", "finished"]


def test_the_docs_name_every_hook():
    named = re.findall(r"^\| `(\w+)\(", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    hooks = [name for name, _ in inspect.getmembers(Observer, inspect.isfunction)]
    assert sorted(named) == hooks
