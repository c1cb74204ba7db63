import sys
from collections import UserDict
from pathlib import Path

import pytest
import torch
from torch import nn

from traintime.errors import InputError
from traintime.workload import captured_step, own_module, time_limit
from traintime.workload.capture import graph_of
from traintime.workload.own_module import from_module, own_subject
from traintime.workload.sample import Sample

MLP = """
from torch import nn
def build():
    print("made")
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
"""
GREY = Sample((1, 28, 28))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "mine.py") -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith(("traintime_model_", "package"))]:
        del sys.modules[name]


def refused(text: str, sample: Sample | None = GREY) -> str:
    with pytest.raises(InputError) as caught:
        own_subject(text, sample)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_function_in_a_file_makes_a_module(write, capsys):
    subject = own_subject(f"{write(MLP)}:build", GREY)
    graph = graph_of(subject)
    assert (graph.model, graph.input_shape, graph.parameters) == (
        "mine.py:build",
        (1, 28, 28),
        7850,
    )
    assert graph.source.startswith("mine.py:build, torch ")
    assert graph.flops(3) == 2 * 2 * 3 * 7840
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "made\n")


def test_a_function_in_a_package_makes_a_module(write):
    write("", "package/__init__.py")
    write("from package.parts import build", "package/nets.py")
    write(MLP, "package/parts.py")
    assert own_subject("package.nets:build", GREY).name == "package.nets:build"
    assert str(Path.cwd()) not in sys.path


def test_a_file_may_import_its_neighbours(write):
    write(MLP, "folder/neighbour.py")
    write("from neighbour import build", "folder/mine.py")
    assert isinstance(own_subject("folder/mine.py:build", GREY).module, nn.Module)


def test_a_class_or_a_module_that_is_there_does_too(write):
    text = "class Net(nn.Linear):\n    def __init__(self): super().__init__(4, 2)\nnet = Net()"
    name = write(f"from torch import nn\n{text}")
    for what in ("Net", "net"):
        assert own_subject(f"{name}:{what}", Sample((4,))).module.in_features == 4


def test_tokens_are_numbers_of_words_judged_at_each_place(write):
    text = "def build(): return nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50))"
    name = write(f"from torch import nn\n{text}")
    graph = graph_of(own_subject(f"{name}:build", Sample((12,), tokens=True)))
    (softmax,) = [k for k in graph.kernels if k.op == "aten._log_softmax"]
    assert softmax.bytes_read.at(2) == 4 * 2 * 12 * 50


EXAMPLE = """
import torch
from torch import nn
def build(): return nn.Linear(4, 2), torch.zeros(5, 4)
def with_loss(): return nn.Linear(4, 2), torch.zeros(5, 4), lambda y: y.abs().sum()
"""


def test_an_example_batch_says_what_the_input_is(write):
    subject = own_subject(f"{write(EXAMPLE)}:build")
    assert subject.input_shape == (4,)
    (x,), _ = subject.inputs(16, 0)
    assert x.shape == (16, 4)


def test_a_loss_may_come_with_it(write):
    graph = graph_of(own_subject(f"{write(EXAMPLE)}:with_loss"))
    assert "aten.abs" in {kernel.op for kernel in graph.kernels}


def test_what_is_typed_goes_before_the_example(write):
    text = EXAMPLE.replace("Linear(4, 2)", "ReLU()")
    assert own_subject(f"{write(text)}:build", Sample((7,))).input_shape == (7,)


def test_a_missing_file_names_the_nearest(write):
    write(MLP, "model.py")
    assert "There is no file 'modell.py'. Did you mean 'model.py'?" in refused("modell.py:build")
    assert "path/to/file.py:build" in refused("nowhere/other.py:build")


def test_a_folder_is_no_file(write, tmp_path):
    (tmp_path / "net.py").mkdir()
    assert "'net.py' is a folder. Type a file in it" in refused("net.py:build")


def test_what_another_process_prints_goes_where_errors_go(write, capfd):
    write("""
import os
from torch import nn
def build():
    os.system("echo from a process")
    return nn.Linear(784, 10)
""")
    own_subject("mine.py:build", Sample((784,)))
    out, err = capfd.readouterr()
    assert out == ""
    assert "from a process" in err


@pytest.mark.parametrize(
    ("layer", "sample"),
    [
        ("nn.Embedding(9, 4)", Sample((8,))),
        ("nn.Conv2d(3, 4, 3)", Sample((8,), tokens=True)),
    ],
)
def test_words_and_values_are_told_apart(write, layer, sample):
    write(f"from torch import nn\ndef build():\n    return nn.Sequential({layer})\n")
    with pytest.raises(InputError, match="reads numbers of words type for example"):
        graph_of(own_subject("mine.py:build", sample))


def test_a_missing_module_says_how_files_are_typed():
    assert "There is no module 'no_such_package'" in refused("no_such_package:build")
    assert "There is no module 'json.no_such'" in refused("json.no_such:build")


def test_a_file_without_a_function_says_how_to_name_one(write):
    assert "model=mine.py:build" in refused(write(MLP))
    assert "model=mine.py:build" in refused(f"{write(MLP)}:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def biuld(): pass", "'mine.py' has no 'build'. Did you mean model=mine.py:biuld?"),
        ("def one(): pass\nclass Two: pass", "It has Two, one. Write a function"),
        ("x = 3", "It has no function. Write a function without arguments"),
        ("build = 3", "'build' in 'mine.py' is no function but an int"),
        ("def build(width, depth=2): pass", "wants to be given width. Write a function without"),
        ("def build(): return 3", "returned an int and must return a torch.nn.Module"),
        ("def build(): return (1, 2)", "returned an int and must return a torch.nn.Module"),
        ("def build(): pass", "returned a NoneType and must return"),
        (
            "1 / 0",
            "Importing mine.py failed (mine.py, line 1): ZeroDivisionError: division by zero",
        ),
        ("x =", "Importing mine.py failed"),
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import sys; sys.exit(3)", "Importing mine.py failed (mine.py, line 1): SystemExit: 3"),
        (
            "def build(): raise ValueError('no')",
            "mine.py:build failed (mine.py, line 1): ValueError",
        ),
    ],
)
def test_what_is_wrong_is_said(write, text, message):
    assert message in refused(f"{write(text)}:build")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import time; time.sleep(60)", "Importing mine.py did not end"),
        ("import time\ndef build(): time.sleep(60)", "mine.py:build did not end"),
        (
            "while True:\n  try:\n    while True: pass\n  except Exception: pass",
            "Importing mine.py",
        ),
    ],
)
def test_what_hangs_is_stopped(write, monkeypatch, text, what):
    monkeypatch.setattr(own_module, "BUILD_LIMIT_S", 0.1)
    message = refused(f"{write(text)}:build")
    assert what in message
    assert "it took longer than 0.1 s" in message
    assert "__main__" in message


def test_a_module_without_an_input_asks_for_it(write):
    assert "input=3x224x224" in refused(f"{write(MLP)}:build", None)


def test_an_input_that_a_layer_refuses_names_the_layer(write):
    subject = own_subject(f"{write(MLP)}:build", Sample((3, 32, 32)))
    with pytest.raises(InputError, match=r"layer '1' \(Linear\).*3072"):
        graph_of(subject)


LOOPS = """
import time
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self): super().__init__(); self.layer = nn.Linear(784, 784)
class Looks(Net):
    def forward(self, x):
        while True: x = self.layer(x.flatten(1))
class Counts(Net):
    def forward(self, x):
        while True: pass
class Waits(Net):
    def forward(self, x): time.sleep(60)
"""


@pytest.mark.parametrize("name", ["Looks", "Counts", "Waits"])
def test_a_forward_without_an_end_is_stopped(write, monkeypatch, name):
    monkeypatch.setattr(captured_step, "STEP_LIMIT_S", 0.1)
    monkeypatch.setattr(time_limit, "BETWEEN_STOPS_S", 0.05)
    subject = own_subject(f"{write(LOOPS)}:{name}", GREY)
    with pytest.raises(InputError, match=r"did not end in its .*longer than 0\.1 s.*Look there"):
        graph_of(subject)


def test_a_syntax_error_is_placed_in_the_users_file(write):
    message = refused(f"{write('import torch' + chr(10) + 'def build(:')}:build")
    assert "(mine.py, line 2): SyntaxError" in message


def test_the_datas_shape_is_taken_where_there_is_no_other(write):
    name = write(MLP)
    assert own_subject(f"{name}:build", None, GREY).input_shape == (1, 28, 28)
    assert own_subject(f"{name}:build", Sample((784,)), GREY).input_shape == (784,)
    name = write(EXAMPLE, "other.py")
    assert own_subject(f"{name}:build", None, GREY).input_shape == (4,)


def test_a_large_input_takes_no_memory(write):
    huge = Sample((3, 100_000, 100_000))  # 120 GB as zeros
    text = "from torch import nn\ndef build(): return nn.Conv2d(3, 1, 3, stride=1000)"
    assert graph_of(own_subject(f"{write(text)}:build", huge)).flops(1) > 0


def test_what_needs_values_is_computed_with_zeros_of_the_typed_shape(write):
    text = """
from torch import nn
class Net(nn.Linear):
    def forward(self, x): return super().forward(x) if float(x.sum()) == 0 else x
def build(): return Net(4, 2)
"""
    assert "computed" in graph_of(own_subject(f"{write(text)}:build", Sample((4,)))).source


# Kinds of weights


def test_weights_in_16_bits_are_captured_as_fp32_and_said_to_be_half():
    for kind in (torch.float16, torch.bfloat16):
        module = nn.Linear(4, 2).to(kind)
        subject = from_module(module, torch.zeros(3, 4, dtype=kind))
        assert subject.half
        graph = graph_of(subject)
        assert not any(kernel.half for kernel in graph.kernels)
        assert module.weight.dtype == kind
    assert not from_module(nn.Linear(4, 2), torch.zeros(3, 4)).half


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Linear(4, 2).double(), "weights in float64.*Give module.float"),
        (nn.Linear(4, 2, dtype=torch.complex64), "weights in complex64"),
        (nn.Sequential(nn.Linear(4, 4).half(), nn.Linear(4, 2)), "weights in float16 and float32"),
        (nn.LazyLinear(2), "lazy layers.*Call it once"),
    ],
)
def test_weights_whose_times_are_not_known_are_refused(module, said):
    with pytest.raises(InputError, match=said):
        from_module(module, torch.zeros(3, 4))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_scripted_module_is_refused():
    with pytest.raises(InputError, match=r"TorchScript module.*Give the nn\.Module"):
        from_module(torch.jit.script(nn.Linear(4, 2)), torch.zeros(3, 4))


# What stopped a step


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, a, b):
        return self.linear(a + b)


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.EmbeddingBag(10, 4, sparse=True), nn.Linear(4, 2)

    def forward(self, ids):
        return self.out(self.words(ids))


class Four(nn.Linear):
    def forward(self, x):
        return super().forward(x.view(4, 8))


@pytest.mark.parametrize(
    ("module", "batch", "loss", "said"),
    [
        (nn.Linear(4, 2), torch.zeros(3, 4), nn.CrossEntropyLoss(), "loss=lambda output:"),
        (Bag(), torch.zeros(3, 5, dtype=torch.long), None, "sparse=False"),
        (Four(8, 2), torch.zeros(4, 2, 4), None, r"a batch of 16x2x4.*write x\.shape\[0\]"),
        (Pair(), torch.zeros(3, 4), None, "a batch of 16x4.*a tuple of all arguments"),
    ],
)
def test_what_stopped_a_step_is_said_with_what_to_change(module, batch, loss, said):
    with pytest.raises(InputError, match=said) as caught:
        graph_of(from_module(module, batch, loss))
    assert "another shape" not in str(caught.value) or isinstance(module, Four)


@pytest.mark.parametrize(
    ("module", "batch", "args", "kwargs"),
    [
        (nn.Linear(4, 2), torch.zeros(3, 4), [(8, 4)], {}),
        (Pair(), (torch.zeros(3, 4), torch.zeros(3, 4)), [(8, 4), (8, 4)], {}),
        (Pair(), [torch.zeros(3, 4), torch.zeros(1, 4)], [(8, 4), (1, 4)], {}),
        (Pair(), {"a": torch.zeros(3, 4), "b": torch.zeros(3, 4)}, [], {"a": (8, 4), "b": (8, 4)}),
        (Pair(), UserDict(a=torch.zeros(3, 4), b=torch.tensor(1.0)), [], {"a": (8, 4), "b": ()}),
        # a pair from a loader: the second are labels
        (nn.Linear(4, 2), (torch.zeros(3, 4), torch.zeros(3)), [(8, 4)], {}),
    ],
)
def test_an_example_batch_is_made_as_large_as_asked(module, batch, args, kwargs):
    made_args, made_kwargs = from_module(module, batch).inputs(8, 0)
    assert [tuple(value.shape) for value in made_args] == args
    assert {name: tuple(value.shape) for name, value in made_kwargs.items()} == kwargs
    assert graph_of(from_module(module, batch)).flops(1) > 0


def test_a_module_is_named_after_its_class():
    subject = from_module(Pair(), (torch.zeros(3, 4), torch.zeros(3, 4)))
    assert subject.name == "Pair"
    assert subject.source.endswith("test_own_module.Pair")


def test_a_batch_without_a_tensor_is_refused():
    for batch in (3, torch.tensor(1.0), [], None):
        with pytest.raises(InputError, match=r"example batch of Linear.*is a"):
            from_module(nn.Linear(4, 2), batch)
