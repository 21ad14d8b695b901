"""Pictures show NaN and infinity in a separate colour, and without a warning."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nets.calculus.network import mlp
from nets.explanation.picture.drawing.colours import NOT_FINITE, Scale
from nets.explanation.picture.drawing.drawing import Drawing
from nets.explanation.picture.drawing.labels import length, sign
from nets.explanation.picture.picture import BackwardPicture, picture
from nets.text import four_digits

NAN, INF = math.nan, math.inf


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def root_where_positive(x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.sqrt(x), x).sum()


# The gradients were derived by hand. The cotangent of an unused branch is zero, and 0 · NaN = 0 · ∞ = NaN.
GRADIENTS: dict[str, tuple[Callable[..., Tensor], object, list[float]]] = {
    "sqrt of a negative number, not taken": (root_where_positive, vector(-1.0), [NAN]),
    "the same in some entries": (root_where_positive, vector(-1.0, 4.0, 0.0), [NAN, 0.25, NAN]),
    "log at zero": (torch.log, 0.0, [INF]),
    "acos at one": (torch.acos, 1.0, [-INF]),
    "a pole among others": (lambda x: (1 / x).sum(), vector(0.0, 1.0, 2.0), [-INF, -1.0, -0.25]),
    "a length at zero": (lambda x: (x * x).sum().sqrt(), vector(0.0, 0.0), [NAN, NAN]),
    "overflow times underflow": (lambda x: torch.exp(x) * torch.exp(-x), 800.0, [NAN]),
    "an infinite input": (torch.tanh, INF, [0.0]),
    "an input that is NaN": (torch.tanh, NAN, [NAN]),
    "minus infinity, masked": (lambda x: torch.logsumexp(x, 0), vector(-INF, 1.0), [0.0, 1.0]),
    "a finite value whose square overflows": (lambda x: x * 1e200, 1.0, [1e200]),
    "an empty input": (lambda x: x.sum(), vector(), []),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_equals_pytorchs(name: str) -> None:
    function, x, expected = GRADIENTS[name]
    drawn = picture(function, x)
    (gradient,) = drawn.gradients.values()
    torch.testing.assert_close(gradient.reshape(-1), vector(*expected), rtol=1e-12, atol=0, equal_nan=True)
    assert not re.search("nan|inf", texts(drawn))


def test_the_caption_explains_a_nan_from_an_inactive_branch() -> None:
    drawn = picture(lambda x: torch.where(x > 0, torch.sqrt(x), x), -1.0)
    page = drawn.to_html()
    assert "Zero times NaN or ∞ is NaN" in page
    assert "1 + NaN adds up to <b>∂y/∂x = NaN</b>" in page
    x = next(node for node in Drawing(drawn.output, drawn.backward_steps).nodes if node.name == "x")
    assert Drawing(drawn.output, drawn.backward_steps).step_of[id(x)].gradient.isnan()
    assert drawn.to_svg().count(f'fill="{NOT_FINITE}"') == 3  # the box of x, the tip of its line, and the legend


def test_a_finite_picture_has_no_colour_for_nan() -> None:
    drawn = picture(root_where_positive, vector(4.0))
    assert NOT_FINITE not in drawn.to_html()
    assert "Zero times" not in drawn.to_html()


@pytest.mark.parametrize("x", [[NAN, 1.0], [INF, 1.0]])
@pytest.mark.parametrize("sizes", [[2, 3, 1], [2, 30, 1]], ids=["units", "layers"])
def test_a_network_at_a_non_finite_input(sizes: list[int], x: list[float]) -> None:
    drawn = picture(mlp(sizes), torch.tensor([x]))
    point = vector(*x)[None].requires_grad_()
    network = mlp(sizes).double()
    network(point).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(drawn.gradients[name], parameter.grad, equal_nan=True)
    assert not re.search("nan|inf", texts(drawn))


def test_contributions_that_cancel_have_valid_colours() -> None:
    # Both contributions are a million times the gradient; each colour channel must be between 00 and ff.
    html = picture(lambda x: x * 1e6 - x * 1e6 + x, 1.0).to_html()
    assert "#-" not in html
    scale = Scale([1e-300, 1e300])
    assert [scale.share(size) for size in (0.0, 1e-310, 1e-300, 1e300, 1e305)] == pytest.approx([0, 0.05, 0.05, 1, 1])


def test_the_texts_of_non_finite_numbers() -> None:
    assert [four_digits(number) for number in (NAN, INF, -INF, -0.0, -2.5)] == ["NaN", "∞", "−∞", "0", "−2.5"]
    assert [sign(vector(number)) for number in (NAN, INF, -INF, 0.0)] == [0, 1, -1, 0]
    assert length(vector(-1e200)) == 1e200


def texts(drawn: BackwardPicture) -> str:
    """The texts at the boxes and lines after the last step."""
    drawing = Drawing(drawn.output, drawn.backward_steps)
    nodes = drawing.state(len(drawn.backward_steps))["nodes"]
    return " ".join(
        [*(text for node in nodes for text in node[2:]), *(label.text for label in drawing.labels.values())]
    )
