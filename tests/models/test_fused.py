import pytest
import torch
from torch import nn
from torch.nn import functional as F

from traintime.architecture import network_for
from traintime.architecture.fusing import is_fusable
from traintime.architecture.layers import Activation, Conv2d, MaxPool
from traintime.models.build import build
from traintime.models.fused import FusedConvReluPool
from traintime.recipe import read_recipe


def gradients(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    module.zero_grad()
    module(x).square().sum().backward()
    assert x.grad is not None
    return [x.grad, *(p.grad.clone() for p in module.parameters() if p.grad is not None)]


@pytest.mark.parametrize(
    ("channels", "out", "kernel", "padding"), [(1, 6, 5, 0), (6, 16, 5, 2), (3, 4, 3, 1)]
)
def test_fused_product_equals_convolution_relu_and_pooling(channels, out, kernel, padding):
    torch.manual_seed(0)
    fused = FusedConvReluPool(Conv2d(channels, out, kernel, padding))
    native = nn.Sequential(
        nn.Conv2d(channels, out, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2)
    )
    native[0].load_state_dict(fused.state_dict())
    x = torch.randn(4, channels, 12, 12).to(memory_format=torch.channels_last)

    torch.testing.assert_close(fused(x), native(x))
    for ours, theirs in zip(gradients(fused, x), gradients(native, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_ties_give_the_gradient_to_one_value_as_torch_does():
    conv = Conv2d(1, 2, 3)
    fused = FusedConvReluPool(conv)
    flat_image = torch.ones(2, 1, 8, 8)
    native = nn.Conv2d(1, 2, 3)
    native.load_state_dict(fused.state_dict())
    ours = gradients(fused, flat_image)
    theirs = gradients(nn.Sequential(native, nn.ReLU(), nn.MaxPool2d(2)), flat_image)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_seed_gives_the_same_lenet_either_way():
    recipe = read_recipe(["data=mnist", "model=lenet"])
    network = network_for(recipe, (1, 28, 28), 10)
    torch.manual_seed(3)
    native = build(network)
    torch.manual_seed(3)
    fused = build(network, fused=True)
    x = torch.randn(8, 1, 28, 28)
    torch.testing.assert_close(F.softmax(native(x), 1), F.softmax(fused(x), 1))
    assert any(isinstance(m, FusedConvReluPool) for m in fused)


def test_only_relu_between_a_stride_1_convolution_and_2x2_pooling_is_fusable():
    conv = Conv2d(1, 6, 5)
    assert is_fusable([conv, Activation("relu"), MaxPool(2)], (1, 28, 28))
    assert not is_fusable([conv, Activation("gelu"), MaxPool(2)], (1, 28, 28))
    assert not is_fusable([conv, Activation("relu"), MaxPool(2)], (1, 27, 27))
    assert not is_fusable([Conv2d(64, 128, 3, 1), Activation("relu"), MaxPool(2)], (64, 32, 32))
