import inspect
import re
import signal

import pytest

from traintime import errors
from traintime.errors import (
    DataUnavailableError,
    DivergedError,
    InputError,
    MissingExtraError,
    RunFolderError,
    StoppedError,
    StorageError,
    TraintimeError,
    UnknownNameError,
    nearest,
)


def drawn_tree() -> dict[str, tuple[str, str]]:
    """Read name -> (parent, exit code) from the tree in the module's docstring."""
    tree: dict[str, tuple[str, str]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if drawn := re.match(r"([│├└─ ]*)(\w+Error)\s+(?:exit code )?(\d+(?: or \d+)?)", line):
            depth = len(drawn[1]) // 4
            above = [*above[:depth], drawn[2]]
            tree[drawn[2]] = (above[depth - 1] if depth else "Exception", drawn[3])
    return tree


def test_the_tree_that_is_drawn_is_the_tree_of_the_classes():
    classes = {
        name: cls
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, Exception)
    }
    tree = drawn_tree()
    assert set(tree) == set(classes)
    for name, (parent, exit_code) in tree.items():
        assert classes[name].__base__.__name__ == parent
        if name != "StoppedError":
            assert classes[name].exit_code == int(exit_code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_as_shells_expect(number: int):
    stopped = StoppedError(number, "stopped")
    assert str(stopped.exit_code) in drawn_tree()["StoppedError"][1].split(" or ")
    assert stopped.exit_code == 128 + number
    assert str(stopped) == "stopped"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (TraintimeError("x"), 1),
        (DataUnavailableError("x"), 1),
        (DivergedError(3, "x"), 1),
        (StorageError("x"), 1),
        (InputError("x"), 2),
        (RunFolderError("x"), 2),
        (UnknownNameError("model", "x", [], "Type y"), 2),
        (MissingExtraError("Training", "train", "torch"), 2),
    ],
)
def test_wrong_input_exits_with_2_and_failures_with_1(error: TraintimeError, exit_code: int):
    assert error.exit_code == exit_code


def test_an_unknown_name_gets_the_nearest_one_the_choices_and_the_next_step():
    error = UnknownNameError("model", "lenett", ["mlp", "lenet"], "Type for example model=lenet")
    assert str(error) == (
        "No model named 'lenett'. Did you mean 'lenet'? Known: lenet, mlp. "
        "Type for example model=lenet"
    )
    assert (error.given, error.nearest) == ("lenett", "lenet")


def test_an_unknown_name_unlike_all_others_gets_no_guess():
    error = UnknownNameError("model", "zzz", ["mlp", "lenet"], "Type for example model=lenet")
    assert error.nearest is None
    assert "Did you mean" not in str(error)


def test_a_long_list_of_names_is_counted_instead_of_shown():
    error = UnknownNameError("run", "x", [f"run{n:02d}" for n in range(13)], "List them")
    assert "13 are known" in str(error)


@pytest.mark.parametrize(
    ("given", "found"),
    [("mnits", "mnist"), ("MNIST", "mnist"), ("cifar-10", "CIFAR10"), ("", None), ("qq", None)],
)
def test_the_nearest_name_is_found_whatever_its_capitals(given: str, found: str | None):
    assert nearest(given, ["mnist", "CIFAR10", "digits"]) == found


def test_a_missing_extra_comes_with_the_command_that_installs_it():
    error = MissingExtraError("Training", "train", "torch")
    assert str(error) == (
        "Training needs the package 'torch', which is not installed. "
        "Install it with: pip install 'traintime[train]'"
    )


def test_a_diverged_run_says_at_which_step():
    assert DivergedError(17, "the loss is nan").step == 17
