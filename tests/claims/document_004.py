"""Two ways to record: document 004."""

import numpy as np
import torch

from nets.lessons import (
    Composed,
    Double,
    EightMinus,
    ElevenPlus,
    NineOver,
    Polynomials,
    Sine,
    Square,
    recording,
    tape,
    vjp,
)
from tests.claims.record import claim, close


@claim("D1")
def five_functions_of_three(engine: str) -> list[np.ndarray]:
    functions = [Square(), Double(), NineOver(), EightMinus(), ElevenPlus()]
    found = [vjp(engine, function, 3.0) for function in functions]
    close([one.y for one in found], [9, 6, 3, 5, 14])
    return [close([one.gradients[0] for one in found], [6, 2, -1, -1, 1])]


@claim("D2")
def the_sine_of_a_square(engine: str) -> list[np.ndarray]:
    by_x = vjp(engine, Composed(Sine(), Square()), 3.0).gradients[0]
    by_y = vjp(engine, Sine(), 9.0).gradients[0]
    close([by_x, by_y], [-5.4668, -0.9111], 5e-5)
    if engine == "PyTorch":
        grads = recording.retained(Sine(), Square(), torch.tensor(3.0, dtype=torch.float64))
        assert grads["y.grad"] is None
        close([grads["y.grad, retained"], grads["x.grad"]], [by_y, by_x])
    return [by_x, by_y]


@claim("D3")
def the_sine_of_squares(engine: str) -> list[np.ndarray]:
    x = np.linspace(0, 3, 20)
    by_y, by_x = vjp(engine, Sine(), x**2).gradients[0], vjp(engine, Composed(Sine(), Square()), x).gradients[0]
    close(by_y, [1.0000, 0.9997, 0.9950, 0.9749, 0.9215, 0.8120, 0.6236, 0.3421, -0.0248, -0.4337, -0.7970, -0.9922,
    -0.9011,
                 -0.4786, 0.1732, 0.7815, 0.9951, 0.6044, -0.2217, -0.9111], 5.1e-5)  # fmt: skip
    # The document's own list breaks off here.
    close(
        by_x[:11], [0.0000, 0.3157, 0.6284, 0.9236, 1.1640, 1.2821, 1.1815, 0.7563, -0.0626, -1.2326, -2.5168], 5.1e-5
    )
    return [close(by_y, np.cos(x**2)), close(by_x, 2 * x * np.cos(x**2))]


@claim("D4", "T")
def clearing(engine: str) -> list[np.ndarray]:
    grads = recording.cleared(Square(), Square(), torch.tensor(2.0))
    assert [grad.item() for grad in grads.values()] == [4, 8, 0, 4]
    return []


@claim("D5", "T")
def not_tracked(engine: str) -> list[np.ndarray]:
    found = recording.untracked(Square(), torch.tensor(2.0))
    assert {way for way, y in found.items() if y.grad_fn is None} == {"requires_grad_(False)", "detach()", "no_grad()"}
    assert {y.item() for y in found.values()} == {4}
    return []


@claim("D6", "F T")
def gradient_tape(engine: str) -> list[np.ndarray]:
    x = np.linspace(0, 3, 10)
    by_y = [
        1,
        0.99383351,
        0.90284967,
        0.54030231,
        -0.20550672,
        -0.93454613,
        -0.65364362,
        0.6683999,
        0.67640492,
        -0.91113026,
    ]
    by_x = [
        0,
        0.66255567,
        1.20379956,
        1.08060461,
        -0.54801792,
        -3.11515378,
        -2.61457448,
        3.11919955,
        3.60749292,
        -5.46678157,
    ]
    if engine == "PyTorch":
        grads = recording.retained(Sine(), Square(), torch.tensor(x))
        return [close(grads["y.grad, retained"], by_y, 6e-9), close(grads["x.grad"], by_x, 6e-9)]
    assert tape.constant(Square(), 3.0)["not watched"] is None
    close(tape.constant(Square(), 3.0)["watched"], 6)
    close(tape.repeated(Square(), 3.0, times=3), [6, 6, 6])
    at_three = tape.variable(Sine(), Square(), 3.0)
    close([at_three["∂z/∂y"], at_three["∂z/∂x"]], [-0.91113025, -5.4667816], 5e-7)  # the document's, in float32
    found = tape.variable(Sine(), Square(), x)
    return [close(found["∂z/∂y"], by_y, 6e-9), close(found["∂z/∂x"], by_x, 6e-9)]


@claim("D7", "F T")
def a_vector_without_and_with_a_cotangent(engine: str) -> list[np.ndarray]:
    x, v = [1.0, 2.0], [1.0, 10.0, 100.0]
    if engine == "PyTorch":
        assert "scalar outputs" in recording.refused(Polynomials(), torch.tensor(x))
        weighted, ones = (vjp(engine, Polynomials(), x, v=w).gradients[0] for w in (v, [1.0, 1.0, 1.0]))
    else:
        weighted, ones = tape.summed(Polynomials(), x, v), tape.summed(Polynomials(), x)
    return [close(weighted, [26, 1240]), close(ones, [8, 34])]
