"""The rules of matrix calculus, each as a function that returns the gradient in closed form.

Layout: a gradient has the axes of x first, (∇_x y)_ji = ∂y_i/∂x_j. Where y is one number it has the shape of x, as
gradient descent needs it. A Jacobian, everywhere else in `nets`, has the axes of y first, J_ij = ∂y_i/∂x_j,
so that J t is the derivative of y along t. Both have the same entries, ∇y = Jᵀ; `to_jacobian` converts one into the
other.

Source: Petersen, Pedersen, "The Matrix Cookbook" (2012), sections 2.4 to 2.7.
"""

from jaxtyping import Float
from torch import Tensor

from nets.errors import InputError


def product(a: Float[Tensor, "i j"]) -> Float[Tensor, "j i"]:
    """∇_x A x = Aᵀ: y_i = Σ_j A_ij x_j, so ∂y_i/∂x_j = A_ij stands at (j, i). The Jacobian is A itself, for every x."""
    _expect_matrix("product", a)
    return a.mT


def row_product(a: Float[Tensor, "j i"]) -> Float[Tensor, "j i"]:
    """∇_x xᵀA = A: y_i = Σ_j x_j A_ji, so ∂y_i/∂x_j = A_ji stands at (j, i). The Jacobian is Aᵀ, for every x."""
    _expect_matrix("row_product", a)
    return a


def quadratic(a: Float[Tensor, "j j"], x: Float[Tensor, " j"]) -> Float[Tensor, " j"]:
    """∇_x xᵀA x = (A + Aᵀ) x: ∂(Σ_lm x_l A_lm x_m)/∂x_j = Σ_m A_jm x_m + Σ_l x_l A_lj. The Jacobian is this as a row.

    Raises:
        InputError: unless A is square and as wide as x is long.
    """
    if a.ndim != 2 or x.ndim != 1 or a.shape != (len(x), len(x)):
        raise InputError(
            f"A has the shape {tuple(a.shape)} and x the shape {tuple(x.shape)}; expected (J, J) and (J,) for xᵀA x: "
            "A has a row and a column for each entry of x."
        )
    return (a + a.mT) @ x


def squared_norm(x: Float[Tensor, " j"]) -> Float[Tensor, " j"]:
    """∇_x ‖x‖² = ∇_x xᵀx = 2 x: ∂(Σ_l x_l²)/∂x_j = 2 x_j. The Jacobian is this as a row."""
    return 2 * x


def squared_frobenius_norm(x: Float[Tensor, "i j"]) -> Float[Tensor, "i j"]:
    """∇_X ‖X‖_F² = 2 X: ∂(Σ_lm X_lm²)/∂X_ij = 2 X_ij, in the shape of X. In the Jacobian the same entries form one
    row."""
    return 2 * x


def to_jacobian(gradient: Float[Tensor, "j i"]) -> Float[Tensor, "i j"]:
    """J = (∇y)ᵀ of a vector y by a vector x: entry (j, i) moves to (i, j). The same call converts a Jacobian into a
    gradient.

    Raises:
        InputError: unless the gradient has two axes, one of x and one of y.
    """
    _expect_matrix("to_jacobian", gradient)
    return gradient.mT


def _expect_matrix(rule: str, given: Tensor) -> None:
    if given.ndim != 2:
        raise InputError(
            f"the argument of {rule} has the shape {tuple(given.shape)}; expected a matrix, with two axes: "
            "pass a row as x[None], a column as x[:, None]."
        )
