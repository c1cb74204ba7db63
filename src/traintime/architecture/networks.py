"""The shipped networks, each for small images of any size and number of classes.

References:
    LeNet-5: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", with ReLU
    and max-pooling as today's tutorials have it. ResNet: He et al. 2015, "Deep Residual Learning
    for Image Recognition"; ResNet-18 with the 3×3 stem for small images that is usual on CIFAR.
    ResNet-9: the layout known from the DAWNBench entries on CIFAR-10 (Page 2018, "How to Train Your
    ResNet"). VGG: Simonyan & Zisserman 2014, configuration A, with one linear layer at the end.
"""

from __future__ import annotations

from collections.abc import Callable

from traintime.architecture.layers import (
    Activation,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
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
from traintime.errors import InputError, UnknownNameError
from traintime.recipe.recipe import Recipe


def network_for(recipe: Recipe, input_shape: Shape, num_classes: int) -> Network:
    """Return the recipe's network for samples of a shape.

    Args:
        recipe: Names the network and its options.
        input_shape: (C, H, W) of one image, or (F,) of a row of a table.
        num_classes: Scores to give.

    Raises:
        UnknownNameError: No network has this name.
        InputError: The images are too small for the network, or are no images.
    """
    check_model(recipe)
    least = LEAST_IMAGE_SIDE[recipe.model]
    if min(input_shape[1:], default=least) < least:
        instead = f"image_size={LENET_SIDE}" if recipe.folder else "model=mlp"
        raise InputError(
            f"{recipe.model} needs images of at least {least}×{least} pixels and "
            f"{recipe.data_name} has {'×'.join(map(str, input_shape[1:]))}; type {instead}"
        )
    layers = NETWORKS[recipe.model](recipe, input_shape, num_classes)
    network = Network(recipe.model, input_shape, num_classes, layers)
    assert output_shape(network.layers, input_shape) == (num_classes,)
    return network


def check_model(recipe: Recipe) -> None:
    """Refuse a network that nobody knows, or that does not take the recipe's kind of data.

    Raises:
        UnknownNameError: No network has this name.
        InputError: It is for images, and the data are a table.
    """
    if recipe.model not in NETWORKS:
        raise UnknownNameError("model", recipe.model, NETWORKS, "Type for example model=lenet")
    if recipe.table and recipe.model != "mlp":
        raise InputError(
            f"{recipe.model} is for images, and {recipe.data_name} is a table; type model=mlp"
        )


def _mlp(recipe: Recipe, input_shape: Shape, num_classes: int) -> tuple[Layer, ...]:
    layers: list[Layer] = [Flatten()]
    (features,) = Flatten().output(input_shape)
    for width in recipe.hidden:
        layers += [Linear(features, width), *_norm(recipe, width)]
        layers += [Activation(recipe.activation), *_dropout(recipe)]
        features = width
    return (*layers, Linear(features, num_classes))


def _lenet(recipe: Recipe, input_shape: Shape, num_classes: int) -> tuple[Layer, ...]:
    # Made for 32×32: smaller images get a margin, and 8×8 digits would vanish without a second one.
    side = min(input_shape[1:])
    first, second = 2 * (side < LENET_SIDE), 2 * (side < LENET_SIDE / 2)
    features: tuple[Layer, ...] = (
        *_conv_block(recipe, input_shape[0], 6, kernel=5, padding=first),
        MaxPool(2),
        *_conv_block(recipe, 6, 16, kernel=5, padding=second),
        MaxPool(2),
        Flatten(),
    )
    (flat,) = output_shape(features, input_shape)
    return (
        *features,
        Linear(flat, 120),
        Activation(recipe.activation),
        *_dropout(recipe),
        Linear(120, 84),
        Activation(recipe.activation),
        *_dropout(recipe),
        Linear(84, num_classes),
    )


def _resnet9(recipe: Recipe, input_shape: Shape, num_classes: int) -> tuple[Layer, ...]:
    def block(in_channels: int, out_channels: int) -> tuple[Layer, ...]:
        return _conv_block(recipe, in_channels, out_channels)

    return (
        *block(input_shape[0], 64),
        *block(64, 128),
        MaxPool(2),
        Residual((*block(128, 128), *block(128, 128))),
        *block(128, 256),
        MaxPool(2),
        *block(256, 512),
        MaxPool(2),
        Residual((*block(512, 512), *block(512, 512))),
        GlobalMaxPool(),
        *_dropout(recipe),
        Linear(512, num_classes),
    )


def _resnet18(recipe: Recipe, input_shape: Shape, num_classes: int) -> tuple[Layer, ...]:
    layers: list[Layer] = [*_conv_block(recipe, input_shape[0], 64)]
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += _basic_block(recipe, channels, width, stride)
        layers += _basic_block(recipe, width, width, 1)
        channels = width
    return (*layers, GlobalAveragePool(), *_dropout(recipe), Linear(512, num_classes))


def _vgg11(recipe: Recipe, input_shape: Shape, num_classes: int) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    channels = input_shape[0]
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for width in stage:
            layers += _conv_block(recipe, channels, width)
            channels = width
        if min(output_shape(tuple(layers), input_shape)[1:]) > 1:  # a 28×28 image is used up first
            layers.append(MaxPool(2))
    return (*layers, GlobalAveragePool(), *_dropout(recipe), Linear(512, num_classes))


def _conv_block(
    recipe: Recipe, in_channels: int, out_channels: int, kernel: int = 3, padding: int = 1
) -> tuple[Layer, ...]:
    return (
        Conv2d(in_channels, out_channels, kernel, padding, bias=not recipe.batch_norm),
        *_norm(recipe, out_channels),
        Activation(recipe.activation),
    )


def _basic_block(
    recipe: Recipe, in_channels: int, out_channels: int, stride: int
) -> tuple[Layer, ...]:
    bias = not recipe.batch_norm
    body: tuple[Layer, ...] = (
        Conv2d(in_channels, out_channels, 3, 1, stride, bias),
        *_norm(recipe, out_channels),
        Activation(recipe.activation),
        Conv2d(out_channels, out_channels, 3, 1, 1, bias),
        *_norm(recipe, out_channels),
    )
    if stride == 1 and in_channels == out_channels:
        return Residual(body), Activation(recipe.activation)
    shortcut: tuple[Layer, ...] = (
        Conv2d(in_channels, out_channels, 1, 0, stride, bias),
        *_norm(recipe, out_channels),
    )
    return Residual(body, shortcut), Activation(recipe.activation)


def _norm(recipe: Recipe, channels: int) -> tuple[Layer, ...]:
    return (BatchNorm(channels),) if recipe.batch_norm else ()


def _dropout(recipe: Recipe) -> tuple[Layer, ...]:
    return (Dropout(recipe.dropout),) if recipe.dropout else ()


LENET_SIDE = 32

NETWORKS: dict[str, Callable[[Recipe, Shape, int], tuple[Layer, ...]]] = {
    "mlp": _mlp,
    "lenet": _lenet,
    "resnet9": _resnet9,
    "resnet18": _resnet18,
    "vgg11": _vgg11,
}

LEAST_IMAGE_SIDE = {"mlp": 1, "lenet": 8, "resnet9": 8, "resnet18": 8, "vgg11": 8}
