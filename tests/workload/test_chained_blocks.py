import pytest
import torch
from torch import Tensor, nn

from traintime.workload.capture import capture, graph_of
from traintime.workload.chained_blocks import chains
from traintime.workload.kernels import KernelGraph
from traintime.workload.own_module import from_module

WIDTH, BATCH = 64, 8


class Block(nn.Module):
    """Keeps for its backward what goes in, and what the ReLU gives out."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.first = nn.Linear(width, 4 * width)
        self.second = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class Chain(nn.Module):
    def __init__(self, count: int = 3) -> None:
        super().__init__()
        self.before = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(count))
        self.after = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        for layer in self.layers:
            x = layer(x)
        return self.after(x)


def captured(module: nn.Module) -> KernelGraph:
    return graph_of(from_module(module, torch.zeros(1, WIDTH)))


def test_blocks_are_counted_with_their_parameters():
    blocks = captured(Chain()).blocks
    each = 2 * 4 * WIDTH * WIDTH + 5 * WIDTH
    assert blocks
    assert (blocks.paths, blocks.count) == (("layers",), 3)
    assert (blocks.largest, blocks.parameters) == (each, 3 * each)


def test_what_blocks_keep_and_pass_on_is_counted_by_the_sample():
    blocks = captured(Chain()).blocks
    assert blocks
    # of each: 4 · 64 values after the ReLU, and 64 that are the next one's input
    assert blocks.kept_bytes.at(BATCH) == pytest.approx(3 * BATCH * 5 * WIDTH * 4)
    assert blocks.passed_bytes.at(BATCH) == pytest.approx(3 * BATCH * WIDTH * 4)
    # while it runs, what goes into the ReLU is there too
    assert blocks.most_bytes.at(BATCH) == pytest.approx(BATCH * 8 * WIDTH * 4)


def test_in_mixed_precision_what_stays_at_no_samples_are_copies_of_weights():
    graph = capture(from_module(Chain(), torch.zeros(1, WIDTH)), "amp")
    assert graph.blocks
    matrices = 3 * 2 * 4 * WIDTH * WIDTH
    assert graph.blocks.kept_bytes.at(0) == pytest.approx(2 * matrices, rel=0.05)


def test_forward_kernels_tell_whether_they_are_in_a_block():
    graph = captured(Chain())
    assert graph.blocks
    held = {kernel.where for kernel in graph.kernels if graph.blocks.hold(kernel)}
    assert held == {"layers.0", "layers.0.first", "layers.0.second"}
    whole = captured(nn.Sequential(Block(), Block()))
    assert whole.blocks
    assert all(whole.blocks.hold(kernel) for kernel in whole.kernels if kernel.where)


def test_a_graph_with_blocks_is_read_as_it_was_written():
    graph = captured(Chain())
    assert KernelGraph.from_json(graph.to_json()) == graph
    assert "blocks" not in captured(nn.Linear(WIDTH, 10)).to_json()


def test_chains_are_outermost_and_of_one_class():
    inner = nn.Sequential(Block(), Block())
    assert list(chains(inner)) == [""]
    assert list(chains(nn.Sequential(inner, nn.Linear(WIDTH, 10)))) == ["0"]
    assert list(chains(nn.ModuleList([inner, nn.Sequential(Block(), Block())]))) == [""]
    mixed = nn.ModuleList([Block(), nn.Linear(WIDTH, WIDTH)])
    assert chains(mixed) == {}
    assert chains(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))) == {}, "layers are no blocks"
    assert chains(nn.Sequential(Block())) == {}


def test_blocks_that_do_not_run_once_each_are_not_known():
    class Twice(Chain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.layers[0](x))

    assert captured(Twice()).blocks is None
    assert captured(nn.Linear(WIDTH, 10)).blocks is None
