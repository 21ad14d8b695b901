"""Cotangents: document 001."""

import numpy as np
import pytest
import torch

from nets import lessons, picture
from nets.lessons import (
    LogSquareSine,
    Polynomials,
    Sine,
    Square,
    Stacked,
    Sum,
    ThreeSquares,
    recording,
    vjp,
)
from tests.claims.record import claim, close, gradient


@claim("B1")
def a_cotangent_weighs_the_outputs(engine: str) -> list[np.ndarray]:
    return [
        gradient(engine, ThreeSquares(), [1, 2], [6, 12], v=[1, 1]),
        gradient(engine, ThreeSquares(), [1, 2], [6, 120], v=[1, 10]),
    ]


@claim("B2")
def a_cotangent_of_a_number(engine: str) -> list[np.ndarray]:
    return [
        gradient(engine, Square(), 1.0, 2, v=1.0),
        gradient(engine, Square(), 1.0, 200, v=100.0),
        gradient(engine, Stacked(Square(), 4), 1.0, 2222, v=[1, 10, 100, 1000]),
    ]


@claim("B3", "T")
def four_backward_passes(engine: str) -> list[np.ndarray]:
    grads = recording.accumulated(Square(), torch.tensor(1.0), torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert [grad.item() for grad in grads] == [2, 22, 222, 2222]
    return []


@claim("B4", "T N")
def a_sum(engine: str) -> list[np.ndarray]:
    x, cotangents = [1.0, 2.0], [1.0, 10.0, 100.0, 1000.0]
    one_by_one = [vjp(engine, Sum(), x, v=v).gradients[0] for v in cotangents]
    if engine == "PyTorch":
        grads = recording.accumulated(Sum(), torch.tensor(x), torch.tensor(cotangents))
        close(torch.stack(grads), [[1, 1], [11, 11], [111, 111], [1111, 1111]])
    return [
        gradient(engine, Sum(), x, [1, 1]),
        gradient(engine, Sum(), x, [100, 100], v=100.0),
        gradient(engine, Stacked(Sum(), 4), x, [1111, 1111], v=cotangents),
        close(np.cumsum(one_by_one, axis=0), [[1, 1], [11, 11], [111, 111], [1111, 1111]]),
    ]


@claim("B5")
def a_jacobian_of_three_by_two(engine: str) -> list[np.ndarray]:
    x = [1.0, 2.0]
    found = vjp(engine, Polynomials(), x, v=[1, 10, 100])
    (jacobian,) = lessons.jacobian(engine, Polynomials(), x)
    return [
        close(found.y, [3, 17, 20]),
        close(found.gradients[0], [26, 1240]),
        close(jacobian, [[6, 0], [2, 24], [0, 10]]),
    ]


@claim("B6", "T")
def the_slope_of_the_sine(engine: str) -> list[np.ndarray]:
    x = np.linspace(-2 * np.pi, 2 * np.pi, 401)
    return [gradient(engine, Sine(), x, np.cos(x))]


@claim("B7", "T S")
def a_function_of_three_paths(engine: str) -> list[np.ndarray]:
    x = np.array([-9.0, -2.5, -1.0, -0.3, 0.3, 1.0, 2.5, 9.0])
    by_chain_rule = np.sin(x) * 2 / x + np.log(x**2) * np.cos(x) - 1 / x**2
    # The graph of it, as a picture: the gradient that arrives at x is the same.
    assert float(picture(LogSquareSine(), x[0].item()).gradients["x"]) == pytest.approx(by_chain_rule[0], rel=1e-13)
    return [gradient(engine, LogSquareSine(), x, by_chain_rule)]
