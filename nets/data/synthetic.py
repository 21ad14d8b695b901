"""Data made by a known rule."""

import math

import torch

from nets.data.batch import Batch, DataSet
from nets.data.data_sets import known_as
from nets.data.splitting import split
from nets.validation import number, seeded, whole


@known_as("teacher")
def teacher(
    *,
    features: int = 8,
    outputs: int = 3,
    samples: int = 512,
    depth: int = 1,
    noise: float = 0.0,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> DataSet:
    """Y = tanh(W* X + B*), so that it can be measured whether descent finds W* and B* again.

    X_nj ~ N(0, 1), W*_ij ~ N(0, 1/J), B*_i ~ N(0, 1/4): the argument of tanh has a variance of 5/4, and nine in ten
    outputs lie within ±0.95, where tanh has a slope worth descending.

    Args:
        features: J.
        outputs: I.
        samples: N, train and test together.
        depth: how often tanh is applied: 2 gives Y = tanh(tanh(W* X + B*)).
        noise: standard deviation of a normal error added to every target.
        test_fraction: share of the samples held out.
        seed: of W*, B*, X, the noise and the split. Noise does not change the others.

    Returns:
        Inputs (N, J), targets (N, I), and W*, B* under `truth` as "0.weight" (I, J) and "0.bias" (I,).

    Raises:
        InputError: a number out of range.
    """
    inputs_per_output, count = whole("features", features, 1), whole("samples", samples, 3)
    generator = seeded(seed)
    weight = torch.randn(whole("outputs", outputs, 1), inputs_per_output, generator=generator) / inputs_per_output**0.5
    bias = torch.randn(outputs, generator=generator) / 2
    inputs = torch.randn(count, inputs_per_output, generator=generator)
    # In float64, and rounded once: the targets are those of exactly these weights.
    exact = inputs.double() @ weight.double().T + bias.double()
    for _ in range(whole("depth", depth, 1)):
        exact = exact.tanh()
    error = torch.randn(exact.shape, generator=generator) * number("noise", noise, least=0)
    every = Batch(inputs, exact.float() + error)
    train, test = split(count, test_fraction, seed)
    return DataSet("teacher", every.take(train), every.take(test), truth={"0.weight": weight, "0.bias": bias})


@known_as("sine")
def sine(*, samples: int = 256, noise: float = 0.0, test_fraction: float = 0.2, seed: int = 0) -> DataSet:
    """y = sin x, with x drawn evenly from [-π, π].

    Args:
        samples: N, train and test together.
        noise: standard deviation of a normal error added to every target.
        test_fraction: share of the samples held out.
        seed: of x, the noise and the split. Noise does not change the others.

    Returns:
        Inputs (N, 1) and targets (N, 1).

    Raises:
        InputError: a number out of range.
    """
    generator = seeded(seed)
    count = whole("samples", samples, 3)
    inputs = (2 * torch.rand(count, 1, generator=generator) - 1) * math.pi
    error = torch.randn(count, 1, generator=generator) * number("noise", noise, least=0)
    every = Batch(inputs, inputs.sin() + error)
    train, test = split(count, test_fraction, seed)
    return DataSet("sine", every.take(train), every.take(test))
