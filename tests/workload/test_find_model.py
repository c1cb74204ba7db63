import sys

import pytest
import torch
from torch import nn

from traintime.errors import InputError, MissingExtraError, UnknownNameError
from traintime.workload.capture import graph_of
from traintime.workload.find_model import find_graph, find_subject, from_module


def test_a_known_name_is_a_shipped_graph():
    graph = find_graph("resnet18", "amp")
    assert (graph.model, graph.numerics, graph.size_unit) == ("resnet18", "amp", "pixels")


def test_an_unknown_name_says_the_nearest_and_all_other_ways():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet50'\?.*timm:NAME.*hf:NAME"):
        find_graph("resnet5o", "fp32")


def test_a_users_own_module_is_captured(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from torch import nn\ndef build(): return nn.Linear(8, 4)")
    graph = find_graph(f"{path}:build", "fp32", "8")
    assert graph.flops(5) == 2 * 2 * 5 * 32
    assert graph.size_unit is None
    with pytest.raises(InputError, match="names no function"):
        find_subject(str(path))
    with pytest.raises(InputError, match="is no shape"):
        find_subject(f"{path}:build", "eight")


@pytest.mark.parametrize(
    ("model", "package", "extra"),
    [("timm:resnet18", "timm", "timm"), ("hf:gpt2", "transformers", "hf")],
)
def test_a_missing_package_names_the_extra(monkeypatch, model, package, extra):
    from traintime.workload import hf_models

    hf_models._transformers.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtraError, match=rf"'{package}'.*pip install 'traintime\[{extra}\]'"
    ):
        find_subject(model)


@pytest.mark.parametrize("model", ["timm:resnet18", "hf:gpt2", "mine.py:build"])
def test_without_torch_the_extra_is_named(monkeypatch, model):
    for name in [name for name in sys.modules if name.startswith("traintime.workload.capture")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"'torch'.*traintime\[train\]"):
        find_subject(model)


def test_a_module_in_hand_is_captured():
    graph = graph_of(from_module(nn.Linear(8, 4), torch.zeros(2, 8), lambda y: y.pow(2).mean()))
    assert graph.model == "Linear"
    assert "aten.pow" in {kernel.op for kernel in graph.kernels}
