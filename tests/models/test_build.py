import pytest
import torch
from torch import nn
from torch.nn import functional as F

from traintime.architecture import NETWORKS, Network, network_for
from traintime.models.build import ACTIVATIONS, build
from traintime.recipe import read_recipe

GREY, COLOUR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
OPTIONS = {
    "plain": {"batch_norm": False},
    "normed": {"batch_norm": True},
    "normed, with dropout": {"batch_norm": True, "dropout": 0.25},
    "gelu": {"activation": "gelu"},
}


def network(model: str, shape: tuple[int, ...] = GREY, **fields: object) -> Network:
    return network_for(read_recipe(data="mnist", model=model, **fields), shape, 10)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("shape", [GREY, COLOUR, DIGITS])
@pytest.mark.parametrize("fields", OPTIONS.values(), ids=OPTIONS)
def test_a_module_has_the_parameters_and_shapes_that_were_described(model, shape, fields):
    described = network(model, shape, **fields)
    with torch.device("meta"):
        module = build(described)
        scores = module(torch.empty(2, *shape))
    assert num_parameters(module) == described.parameters
    assert scores.shape == (2, 10)


@pytest.mark.parametrize("model", ["mlp", "lenet", "vgg11"])
def test_the_fused_form_has_the_same_parameters(model):
    described = network(model, COLOUR, batch_norm=False)
    with torch.device("meta"):
        fused, native = build(described, fused=True), build(described)
    assert num_parameters(fused) == described.parameters
    shapes = [[p.shape for p in module.parameters()] for module in (fused, native)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("model", NETWORKS)
def test_a_step_reaches_every_parameter(model):
    torch.manual_seed(0)
    module = build(network(model, DIGITS))
    loss = F.cross_entropy(module(torch.randn(4, *DIGITS)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    assert loss.isfinite()
    gradients = [parameter.grad for parameter in module.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_a_seed_decides_all_weights(model):
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build(network(model)).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_residual_adds_its_branches():
    torch.manual_seed(0)
    module = build(network("resnet9", DIGITS, batch_norm=False)).eval()
    residual = next(part for part in module if hasattr(part, "body"))
    x = torch.randn(2, 128, 4, 4)
    torch.testing.assert_close(residual(x), residual.body(x) + x)


def test_global_pooling_takes_the_maximum_or_the_mean_of_a_channel():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])  # (1, 1, 2, 2)
    pools = {}
    for model in ("resnet9", "resnet18"):
        with torch.device("meta"):
            module = build(network(model))
        pools[model] = next(part for part in module if type(part).__name__.startswith("_Global"))
    assert pools["resnet9"](x).tolist() == [[6.0]]
    assert pools["resnet18"](x).tolist() == [[3.0]]


def test_dropout_acts_while_training_only():
    torch.manual_seed(0)
    module = build(network("mlp", DIGITS, dropout=0.5))
    x = torch.randn(8, *DIGITS)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_every_activation_of_a_recipe_is_a_module(function):
    with torch.device("meta"):
        module = build(network("mlp", activation=function))
    assert isinstance(module[2], ACTIVATIONS[function])
