import pytest
import torch
from torch import nn

from traintime.train.flat import FlatParameters


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize("channels_last", [False, True])
def test_parameters_keep_their_values(channels_last: bool) -> None:
    module, before = network(), network()
    FlatParameters(module, channels_last=channels_last)
    for now, old in zip(module.parameters(), before.parameters(), strict=True):
        assert torch.equal(now, old)
        assert now.shape == old.shape


@pytest.mark.parametrize("channels_last", [False, True])
def test_parameters_and_gradients_share_memory_with_the_vectors(channels_last: bool) -> None:
    module = network()
    flat = FlatParameters(module, channels_last=channels_last)
    flat.values.fill_(3.0)
    assert all(bool((parameter == 3).all()) for parameter in module.parameters())
    module(torch.randn(2, 3, 4, 4)).sum().backward()
    assert flat.gradient.abs().sum() > 0
    assert flat.gradient.sum() == pytest.approx(
        sum(float(parameter.grad.sum()) for parameter in module.parameters()), rel=1e-4
    )


def test_backward_adds_to_the_same_gradient_and_never_replaces_it() -> None:
    module = network()
    flat = FlatParameters(module, channels_last=True)
    images = torch.randn(2, 3, 4, 4)
    module.eval()
    module(images).sum().backward()
    once = flat.gradient.clone()
    module(images).sum().backward()
    assert torch.allclose(flat.gradient, 2 * once, rtol=1e-5, atol=1e-6)


def test_matrices_stand_first_and_only_they_decay() -> None:
    flat = FlatParameters(network(), channels_last=False)
    assert flat.num_decayed == 4 * 3 * 9 + 16 * 2
    assert len(flat.values) == flat.num_decayed + 4 + 4 + 4 + 2
    assert [tuple(matrix.shape) for matrix in flat.matrices(flat.values)] == [(4, 27), (2, 16)]


def test_kernels_stay_channels_last() -> None:
    module = network()
    FlatParameters(module, channels_last=True)
    kernel = module[0].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert kernel.grad is not None
    assert kernel.grad.is_contiguous(memory_format=torch.channels_last)
    module(torch.randn(2, 3, 4, 4)).sum().backward()
    assert kernel.grad.is_contiguous(memory_format=torch.channels_last)


def test_matrix_views_hold_the_same_rows_in_either_memory_format() -> None:
    for channels_last in (False, True):
        module = network()
        flat = FlatParameters(module, channels_last=channels_last)
        row = flat.matrices(flat.values)[0][1]
        expected = module[0].weight.detach()[1].flatten()
        assert torch.equal(row.sort().values, expected.sort().values)
