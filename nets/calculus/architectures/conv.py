"""A convolutional network that recognizes images."""

import math
from collections.abc import Sequence

import torch

from nets import validation
from nets.calculus.architectures.registry import known_as
from nets.calculus.layer import Layer
from nets.calculus.layers.activations import ReLU
from nets.calculus.layers.convolution import Conv2d
from nets.calculus.layers.linear import Linear
from nets.calculus.layers.pooling import MaxPool2d
from nets.calculus.layers.shape import Flatten, Unflatten
from nets.calculus.network import Network


@known_as(
    "conv",
    classes="classes",
    sizes={"classes": 3, "image": [1, 4, 4], "channels": [3, 3], "kernel_size": 3, "padding": 1, "hidden": 6},
    inputs=lambda generator: torch.randn(2, 16, generator=generator),
)
def conv(
    classes: int,
    image: Sequence[int] = (1, 8, 8),
    channels: Sequence[int] = (16, 32),
    kernel_size: int = 3,
    padding: int = 1,
    hidden: int = 64,
    *,
    generator: torch.Generator | None = None,
) -> Network:
    """Convolution, ReLU and the largest of each 2 × 2 positions, for each number of channels; then a perceptron.

    X (N, C H W), the pixels of an image row by row → Y (N, classes), the logits.

    Args:
        classes: the number of classes.
        image: (C, H, W), channels, height and width of the images.
        channels: output channels of each convolution.
        kernel_size: of each convolution, along both axes.
        padding: zeros around the input of each convolution.
        hidden: units of the perceptron's hidden layer.
        generator: of the initial weights; one with the seed 0 if not given.

    Raises:
        InputError: for a number out of range, and where a kernel or a pool is larger than its input.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proceedings of
    the IEEE (1998).
    """
    generator = validation.generator(generator)
    if len(image) != 3:
        raise validation.refusal("image", list(image), "three whole numbers", "give channels, height and width")
    layers: list[Layer] = [Unflatten(1, image)]
    shape, before = tuple(image), image[0]
    for after in channels:
        stage = [Conv2d(before, after, kernel_size, padding=padding, generator=generator), ReLU(), MaxPool2d(2)]
        shape, before = _shape_behind(stage, shape), after
        layers += stage
    features = math.prod(shape)
    perceptron = [Linear(features, hidden, generator=generator), ReLU(), Linear(hidden, classes, generator=generator)]
    return Network([*layers, Flatten(), *perceptron])


@torch.no_grad()
def _shape_behind(stage: list[Layer], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample behind these layers, which one empty image finds."""
    return tuple(Network(stage)(torch.zeros(1, *shape)).shape[1:])
