"""The rules of matrix calculus on random matrices: each gradient is the transposed Jacobian that autograd finds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev

from nets import rules
from nets.errors import InputError

SIZES = st.integers(1, 6)
SEEDS = st.integers(0, 2**32)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, SIZES, SIZES)
def test_of_a_product(seed: int, i: int, j: int) -> None:
    a, x = random(seed, i, j), random(seed + 1, j)
    found = jacrev(lambda x: a @ x)(x)
    torch.testing.assert_close(rules.product(a), found.mT)
    torch.testing.assert_close(rules.to_jacobian(rules.product(a)), found)


@given(SEEDS, SIZES, SIZES)
def test_of_a_product_with_a_row(seed: int, j: int, i: int) -> None:
    a, x = random(seed, j, i), random(seed + 1, j)
    torch.testing.assert_close(rules.to_jacobian(rules.row_product(a)), jacrev(lambda x: x @ a)(x))


@given(SEEDS, SIZES)
def test_of_a_quadratic_form(seed: int, j: int) -> None:
    a, x = random(seed, j, j), random(seed + 1, j)
    torch.testing.assert_close(rules.quadratic(a, x), jacrev(lambda x: x @ a @ x)(x))


@given(SEEDS, SIZES, SIZES)
def test_of_norms(seed: int, i: int, j: int) -> None:
    x, matrix = random(seed, j), random(seed + 1, i, j)
    torch.testing.assert_close(rules.squared_norm(x), jacrev(lambda x: x @ x)(x))
    torch.testing.assert_close(rules.squared_frobenius_norm(matrix), jacrev(lambda x: torch.trace(x.mT @ x))(matrix))


def test_a_gradient_of_a_vector_has_the_axes_of_x_first() -> None:
    assert rules.product(torch.zeros(2, 3)).shape == (3, 2)
    assert rules.row_product(torch.zeros(3, 2)).shape == (3, 2)
    assert rules.to_jacobian(torch.zeros(3, 2)).shape == (2, 3)


@pytest.mark.parametrize("shape", [(3,), (), (2, 2, 2)])
def test_a_value_that_is_not_a_matrix_is_refused(shape: tuple[int, ...]) -> None:
    for rule in (rules.product, rules.row_product, rules.to_jacobian):
        with pytest.raises(InputError, match=rf"the argument of {rule.__name__} has the shape"):
            rule.__wrapped__(torch.zeros(shape))  # without the shapes that tests check


@pytest.mark.parametrize(("a", "x"), [((2, 3), (3,)), ((3, 2), (3,)), ((3, 3), (2,)), ((3, 3), (3, 1))])
def test_a_quadratic_form_that_does_not_fit_is_refused(a: tuple[int, ...], x: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"A has the shape .* and x the shape"):
        rules.quadratic.__wrapped__(torch.zeros(a), torch.zeros(x))
