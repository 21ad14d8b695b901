"""Gradients: document 000, and 002 with it."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nets import lessons, rules
from nets.lessons import (
    Composed,
    Cube,
    Doubling,
    Polynomials,
    Quadratic,
    RowTimes,
    Sine,
    Square,
    SquaredNorm,
    Sum,
    Times,
    TwiceSquaredNorm,
    TwoUses,
    UsedTwice,
    detaching,
    recording,
    vjp,
)
from tests.claims.record import claim, close, gradient


@claim("A1", "T N S J")
def rules_of_matrix_calculus(engine: str) -> list[np.ndarray]:
    found = []
    for seed, (i, j) in enumerate([(2, 3), (3, 2), (1, 4), (4, 1), (3, 3)]):
        random = np.random.default_rng(seed)
        a, b, square, x = (random.normal(size=shape) for shape in ((i, j), (j, i), (j, j), (j,)))
        for function, rule in (
            (Times(a), rules.product(torch.tensor(a))),
            (RowTimes(b), rules.row_product(torch.tensor(b))),
        ):
            (jacobian,) = lessons.jacobian(engine, function, x)
            found.append(close(jacobian, rules.to_jacobian(rule)))
        found.append(gradient(engine, Quadratic(square), x, rules.quadratic(torch.tensor(square), torch.tensor(x))))
        found.append(gradient(engine, SquaredNorm(), x, rules.squared_norm(torch.tensor(x))))
        found.append(gradient(engine, SquaredNorm(), a, rules.squared_frobenius_norm(torch.tensor(a))))
    return found


@claim("A2")
def slope_of_a_cube(engine: str) -> list[np.ndarray]:
    return [gradient(engine, Cube(), 1.0, 3)]


@claim("A3", "T N S")
def chain_rule_as_a_sum_over_paths(engine: str) -> list[np.ndarray]:
    x = 0.7
    one = gradient(engine, Composed(Sine(), Square()), x, np.cos(x**2) * 2 * x)
    first, second = vjp(engine, TwoUses(), x, x).gradients
    total = gradient(engine, UsedTwice(), x, close(first, 2 * x * np.sin(x)) + close(second, x**2 * np.cos(x)))
    # Σ_i dy/du_i du_i/dx_j, with u = (3, 17, 20) and dy/du = 4u.
    many = gradient(
        engine, Composed(TwiceSquaredNorm(), Polynomials()), [1, 2], np.array([12, 68, 80]) @ [[6, 0], [2, 24], [0, 10]]
    )
    return [one, first, second, total, many]


@claim("A4")
def twice_the_squared_norm(engine: str) -> list[np.ndarray]:
    found = vjp(engine, TwiceSquaredNorm(), [0, 1, 2, 3])
    return [close(found.y, 28), close(found.gradients[0], [0, 4, 8, 12])]


@claim("A5", "T")
def gradients_add_up_until_cleared(engine: str) -> list[np.ndarray]:
    grads = recording.cleared(TwiceSquaredNorm(), Sum(), torch.arange(4.0))
    assert [grad.tolist() for grad in grads.values()] == [[0, 4, 8, 12], [1, 5, 9, 13], [0, 0, 0, 0], [1, 1, 1, 1]]
    return []


@claim("A6")
def backward_of_the_sum_is_backward_of_ones(engine: str) -> list[np.ndarray]:
    x, expected = [0, 1, 2, 3], [0, 2, 4, 6]
    return [
        gradient(engine, Composed(Sum(), Square()), x, expected),
        gradient(engine, Square(), x, expected, v=[1, 1, 1, 1]),
    ]


@claim("A7", "T F J")
def detached(engine: str) -> list[np.ndarray]:
    through_z, through_y = detaching.ENGINES[engine]([0, 1, 2, 3])
    return [
        close(through_z, [0, 1, 4, 9]),
        close(through_y, [0, 2, 4, 6]),
        gradient(engine, lessons.DetachedSquare(), [0, 1, 2, 3], [0, 1, 4, 9]),
    ]


NUMBERS = st.floats(1e-3, 1e4) | st.floats(-1e4, -1e-3)


@claim("A8", "T F J")
def control_flow(engine: str) -> list[np.ndarray]:
    found = []

    @settings(max_examples=20)
    @given(NUMBERS | st.lists(NUMBERS, min_size=1, max_size=4))
    def is_linear_where_it_is(a: float | list[float]) -> None:
        result = vjp(engine, Doubling(), a)
        k, y = result.gradients[0], result.y
        # Every product but that with 100 is exact, so k·a rounds as f(a) did; f(a)/a may be a last bit from k.
        assert (k * np.array(a) == y).all()
        assert (np.abs(y / np.array(a) - k) <= np.spacing(k)).all()
        assert (k == k.flat[0]).all()
        doublings = np.log2(k.flat[0] / (1 if y.sum() > 0 else 100))
        assert doublings == round(doublings) >= 1
        found.append(k)

    is_linear_where_it_is()
    assert {y > 0 for y in (vjp(engine, Doubling(), a).y for a in (-0.4315, 0.4315))} == {True, False}
    return [
        *found,
        gradient(engine, Doubling(), -0.4315, 409600),
        gradient(engine, Doubling(), [1.0, -3.0], [51200, 51200]),
    ]
