"""Operations of a network's training step, counted layer by layer.

A product of (m, k) and (k, n) is 2·m·k·n FLOP. Its backward is two more of the same size, one for
the weights and one for what came in; the first layer needs only that for the weights. All else is
counted in values read and written, forward and backward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from traintime.architecture.fusing import is_fusable
from traintime.architecture.layers import (
    Activation,
    BatchNorm,
    Conv2d,
    Dropout,
    GlobalAveragePool,
    GlobalMaxPool,
    Layer,
    Linear,
    MaxPool,
    Network,
    Residual,
    Shape,
    output_shape,
)
from traintime.recipe import Recipe
from traintime.workload.op_graph import Op, OpGraph

OPTIMIZER_SLOTS = {"sgd": 1, "adam": 2, "adamw": 2, "muon": 2}
VALUES_PER_PARAMETER = {"sgd": 9.0, "adam": 17.0, "adamw": 17.0, "muon": 11.0}
"""Values that one update reads and writes per parameter, gradient zeroing included."""


SMALL_SIDE = 256
"""Muon makes smaller matrices orthogonal in fp32 on a CPU."""


def count_operations(network: Network, recipe: Recipe, *, fused: bool) -> OpGraph:
    """Return the operations of one training step.

    Args:
        network: What is trained.
        recipe: Gives the optimizer and what happens beside it.
        fused: Whether convolutions with few channels are computed with their pooling.
    """
    layers = network.layers
    ops = [_input(network, recipe)]
    ops += _count(layers, network.input_shape, fused=fused, first=True)
    classes = float(network.num_classes)
    ops.append(Op("loss", "elementwise", 12 * classes, size=(classes, 1.0), launches=6))
    ops += _optimizer(network, recipe)
    return OpGraph(tuple(ops), network.parameters, OPTIMIZER_SLOTS[recipe.optimizer])


def _count(layers: Sequence[Layer], shape: Shape, *, fused: bool, first: bool) -> Iterator[Op]:
    index = 0
    while index < len(layers):
        group = layers[index : index + 3]
        if fused and is_fusable(group, shape):
            yield _fused(group[0], shape, first=first)
        else:
            group = group[:1]
            yield from _layer(group[0], shape, first=first)
        first = first and not any(isinstance(layer, Conv2d | Linear) for layer in group)
        shape = output_shape(tuple(group), shape)
        index += len(group)


def _layer(layer: Layer, shape: Shape, *, first: bool) -> Iterator[Op]:
    values = float(math.prod(shape))
    products = 2 if first else 3
    match layer:
        case Conv2d():
            yield _convolution(layer, shape, products)
        case Linear(inputs, outputs):
            name = f"linear {inputs}→{outputs}"
            flops = 2.0 * inputs * outputs * products
            yield Op(name, "matrix product", flops, 0.0, (inputs, outputs), 6, values, 1 / products)
        case BatchNorm(channels):
            name = f"batch norm {channels}"
            size = (values, float(channels))
            yield Op(name, "normalisation", 8 * values, 0.0, size, 4, values, 0.4, image=True)
        case Activation(function):
            yield _elementwise(function, 5 * values, shape)
        case Dropout():
            yield _elementwise("dropout", 15 * values, shape)
        case MaxPool() | GlobalMaxPool() | GlobalAveragePool():
            size = (values, float(shape[0]))
            yield Op("pooling", "pooling", 2 * values, 0.0, size, 2, values, 0.5, image=True)
        case Residual(body, shortcut):
            yield from _count(body, shape, fused=False, first=False)
            yield from _count(shortcut, shape, fused=False, first=False)
            end = output_shape(body, shape)
            yield _elementwise("residual sum", 6.0 * math.prod(end), end, kept=0.0)
        case _:
            return


def _convolution(conv: Conv2d, shape: Shape, products: int) -> Op:
    outputs, height, width = conv.output(shape)
    inner = conv.in_channels * conv.kernel**2
    return Op(
        name=f"conv {conv.in_channels}→{outputs} {conv.kernel}×{conv.kernel} to {height}×{width}",
        kind="convolution",
        work_per_sample=2.0 * inner * outputs * height * width * products,
        size=(inner, outputs),
        launches=6,
        kept_per_sample=float(math.prod(shape)),
        forward_share=1 / products,
        image=True,
    )


def _fused(layer: Layer, shape: Shape, *, first: bool) -> Op:
    """Four kernels with a row and a column of zeros more each, at every second place."""
    assert isinstance(layer, Conv2d)
    outputs, height, width = layer.output(shape)
    inner, outer = layer.in_channels * (layer.kernel + 1) ** 2, 4 * outputs
    products = 2 if first else 3
    return Op(
        name=f"conv {layer.in_channels}→{outputs}, ReLU, pooling to {height // 2}×{width // 2}",
        kind="fused convolution",
        work_per_sample=2.0 * inner * outer * (height // 2) * (width // 2) * products,
        size=(inner, outer),
        launches=40,
        kept_per_sample=float(math.prod(shape) + outputs * height * width),
        forward_share=1 / products,
        image=True,
    )


def _elementwise(name: str, work: float, shape: Shape, kept: float = 1.0) -> Op:
    values = float(math.prod(shape))
    return Op(
        name, "elementwise", work, 0.0, (values, 1.0), 3, kept * values, 0.4, image=len(shape) == 3
    )


def _input(network: Network, recipe: Recipe) -> Op:
    values = float(math.prod(network.input_shape))
    augmentations = recipe.flip + bool(recipe.crop) + bool(recipe.cutout)
    return Op(
        "batch from memory",
        "input",
        (1 + 2 * augmentations) * values,
        size=(values, 1.0),
        launches=5 + 12 * augmentations,
        forward_share=1.0,
        image=True,
    )


def _optimizer(network: Network, recipe: Recipe) -> Iterator[Op]:
    parameters = float(network.parameters)
    values = VALUES_PER_PARAMETER[recipe.optimizer] + 3 * bool(recipe.ema)
    values += 2 * bool(recipe.grad_clip) + 4 * bool(recipe.l1 or recipe.l2)
    yield Op(
        f"{recipe.optimizer} update",
        "optimizer",
        work_fixed=values * parameters,
        size=(parameters, 1.0),
        launches=10,
        forward_share=0.0,
        precision="fp32",
    )
    if recipe.optimizer == "muon":
        for rows, columns in _matrices(network.layers):
            yield _orthogonalization(rows, columns, recipe.muon_iterations)


def _orthogonalization(rows: int, columns: int, iterations: int) -> Op:
    """Two products with the short side squared and one of that square, each iteration."""
    short, long = sorted((rows, columns))
    flops = iterations * (4.0 * short * short * long + 2.0 * short**3)
    return Op(
        f"orthogonalise {rows}×{columns}",
        "orthogonalisation",
        work_fixed=flops,
        size=(short, long),
        launches=8,
        forward_share=0.0,
        precision="fp32" if short < SMALL_SIDE else "bf16",
    )


def _matrices(layers: Sequence[Layer]) -> Iterator[tuple[int, int]]:
    for layer in layers:
        match layer:
            case Conv2d(inputs, outputs, kernel):
                yield outputs, inputs * kernel**2
            case Linear(inputs, outputs):
                yield outputs, inputs
            case Residual(body, shortcut):
                yield from _matrices((*body, *shortcut))
            case _:
                continue
