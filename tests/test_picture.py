"""nets.picture: the gradients equal PyTorch's, the drawing is legible, and the slider works in a real browser."""

import itertools
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from nets.calculus.network import mlp
from nets.errors import InputError
from nets.explanation.picture.drawing.drawing import Drawing
from nets.explanation.picture.drawing.labels import subscripted
from nets.explanation.picture.picture import BackwardPicture, picture
from tests.cases import NETWORKS, Case

ARTEFACTS = Path(os.environ.get("NETS_TEST_ARTEFACTS", Path(__file__).parents[1] / "runs" / "test_artefacts"))
"""The folder for the screenshots."""


def expression(x: Tensor) -> Tensor:
    """Exercise 5 of the second document."""
    return torch.log(x**2) * torch.sin(x) + 1 / x


def control_flow(a: Tensor) -> Tensor:
    b = a * 2
    while b.norm() < 1000:
        b = b * 2
    return b if b.sum() > 0 else 100 * b


def slices(x: Tensor, w: Tensor) -> Tensor:
    """Uses an operation in place, a view, a list of tensors, several results, a keyword and a constant."""
    y = x.clone()
    y += torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    first, *others = torch.stack([y, torch.mul(y, other=w)]).unbind()
    largest = torch.cat([first, *others]).max(dim=0).values
    return largest.sum() * torch.nn.functional.softplus(y[None].mT[1])


PICTURES = {
    "expression": lambda: picture(expression, 2.0),
    "control flow": lambda: picture(control_flow, -0.4315),
    "chain": lambda: picture(lambda x: torch.tanh(torch.tanh(x)), 2),
    "product": lambda: picture(lambda x: 2 * torch.dot(x, x), torch.arange(4.0)),
    "units": lambda: picture(mlp([3, 4, 2]), torch.tensor([[0.3, -0.8, 0.5]]), output=1),
    "layers": lambda: picture(mlp([64, 32, 10], output="identity"), torch.linspace(-1, 1, 64)[None], output=3),
    "many layers": lambda: picture(mlp([8, *[16] * 8, 2], gain=0.5), torch.linspace(-1, 1, 8)),
    "module": lambda: picture(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU()).double(),
                              torch.tensor([[0.3, -0.8, 0.5]], dtype=torch.float64), output=(0, 1)),
    "inactive branch": lambda: picture(lambda x: torch.where(x > 0, torch.sqrt(x), x), -1.0),
    "slices": lambda: picture(slices, torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64), 3.0),
}  # fmt: skip
EACH = pytest.mark.parametrize("name", PICTURES)


@EACH
def test_every_gradient_is_the_sum_of_its_contributions(name: str) -> None:
    drawn = PICTURES[name]()
    for step in drawn.backward_steps[1:]:
        total = torch.stack([part for _, part in step.received]).sum(0)
        torch.testing.assert_close(step.gradient, total, equal_nan=True)
    for step in drawn.backward_steps:
        for edge, contribution in step.sent:
            if edge.local is not None:
                expected = torch.tensordot(step.gradient, edge.local, step.gradient.ndim)
                torch.testing.assert_close(contribution, expected, equal_nan=True)


def test_the_derivative_of_the_expression() -> None:
    drawn = picture(expression, 2.0)
    # f′ = (2/x) sin x + log(x²) cos x − 1/x²
    assert drawn.gradients["x"].item() == pytest.approx(math.sin(2) + math.log(4) * math.cos(2) - 1 / 4, rel=1e-15)
    assert drawn.value == pytest.approx(math.log(4) * math.sin(2) + 1 / 2)
    nodes = [step.node for step in drawn.backward_steps]
    assert {f"{node.name} = {node.formula}" for node in nodes if node.formula} == {
        "v1 = x²", "v2 = log v1", "v3 = sin x", "v4 = v2·v3", "v5 = 1/x", "y = v4 + v5",
    }  # fmt: skip
    (x,) = [step for step in drawn.backward_steps if step.node.name == "x"]
    assert len(x.received) == 3
    assert "x is used 3 times" in drawn.to_html()


@pytest.mark.parametrize("a", [-0.4315, 0.7, 3000.0, -1e-3])
def test_control_flow_is_drawn_as_it_ran(a: float) -> None:
    # Whichever branches it takes, f(a) is a constant times a.
    drawn = picture(control_flow, a)
    assert drawn.gradients["a"].item() == drawn.value / a
    doublings = max(0, math.ceil(math.log2(1000 / abs(2 * a)))) + 1
    assert drawn.slider_positions == 2 + doublings + (a < 0)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_the_gradients_of_a_network(case: Case) -> None:
    k = case.network(case.x).shape[1] - 1
    drawn = picture(case.network, case.x, output=k, sample=-1)
    x = case.x[-1:].clone().requires_grad_()
    y = case.network(x)[0, k]
    named = dict(case.network.named_parameters())
    truth = torch.autograd.grad(y, [x, *named.values()], allow_unused=True)
    assert drawn.value == pytest.approx(y.item())
    for name, true in zip(named, truth[1:], strict=True):
        torch.testing.assert_close(drawn.gradients[name], true)
    for name, gradient in drawn.gradients.items():
        if name.startswith("X_"):
            torch.testing.assert_close(gradient, truth[0][0, int(name[2:])])


def test_no_gradient_flows_through_a_detached_value() -> None:
    # u = detach(x∘x), z = Σ u∘x: the gradient is u.
    drawn = picture(lambda x: ((x * x).detach() * x).sum(), torch.arange(4.0))
    assert drawn.gradients["x"].tolist() == [0, 1, 4, 9]
    assert "cut" in drawn.to_svg()


def test_dropout_is_recorded_with_its_mask() -> None:
    state = torch.random.get_rng_state()
    drawn = picture(nn.Sequential(nn.Dropout(0.5)), torch.ones(64, dtype=torch.float64), output=5)
    assert drawn.gradients["x"][5].item() == drawn.value
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_module_and_x_are_unchanged() -> None:
    module, x = nn.BatchNorm1d(3), torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    picture(module, x, output=(0, 0))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert x.grad is None and all(parameter.grad is None for parameter in module.parameters())


# The drawing.


@EACH
def test_boxes_and_labels_do_not_overlap(name: str) -> None:
    drawn = PICTURES[name]()
    drawing = Drawing(drawn.output, drawn.backward_steps)
    places = list(drawing.layout.boxes.values())
    for one, other in itertools.combinations(places, 2):
        disjoint = (
            abs(one.x - other.x) >= (one.width + other.width) / 2
            or abs(one.y - other.y) >= (one.height + other.height) / 2
        )
        assert disjoint, (one.node, other.node)
    assert min(min(place.x - place.width / 2, place.y - place.height / 2) for place in places) >= -1e-9
    texts = {edge: label.text for edge, label in drawing.labels.items() if label.text}
    labels = [(*drawing.routing.label_positions[edge], len(text) * 7.0) for edge, text in texts.items()]
    for x, y, width in labels:
        for place in places:
            assert abs(x - place.x) >= (width + place.width) / 2 or abs(y - place.y) >= place.height / 2
    for (ax, ay, aw), (bx, by, bw) in itertools.combinations(labels, 2):
        assert abs(ax - bx) >= (aw + bw) / 2 or abs(ay - by) >= 10


@EACH
def test_the_svg_is_valid_and_self_contained(name: str) -> None:
    drawn = PICTURES[name]()
    svg = drawn.to_svg()
    root = ElementTree.fromstring(svg)
    boxes = [group for group in root.iter("{http://www.w3.org/2000/svg}g") if group.get("data-node")]
    assert len(boxes) == sum(step.node.drawn for step in drawn.backward_steps) + svg.count("no gradient")
    for text in (svg, drawn.to_html()):
        assert not re.search(r"""(src|href)=|@import|url\((?!#)""", text)
        assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_a_picture_is_saved(tmp_path: Path) -> None:
    drawn = picture(expression, 2.0)
    drawn.save(tmp_path / "backward.html")
    assert (tmp_path / "backward.html").read_text("utf-8") == drawn.to_html()
    assert (tmp_path / "backward.svg").read_text("utf-8") == drawn.to_svg()
    with pytest.raises(InputError, match=r"backward\.html exists already"):
        drawn.save(tmp_path / "backward.html")
    with pytest.raises(InputError, match=r"expected a name that ends in \.html"):
        drawn.save(tmp_path / "backward.png")


def test_subscripts() -> None:
    names = {"H1_2": "H1₂", "v12": "v₁₂", "v10ᵀ": "v₁₀ᵀ", "Y_1": "Y₁", "0.weight": "0.weight", "2.5·v1": "2.5·v₁"}
    assert {name: subscripted(name) for name in names} == names


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                     "--disable-component-update", "--disable-sync", "--window-size=1600,1000"):  # fmt: skip
        options.add_argument(argument)
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def open_page(browser: Any, drawn: BackwardPicture, folder: Path) -> Any:
    drawn.save(folder / "backward.html")
    browser.get((folder / "backward.html").as_uri())
    return browser.find_element("css selector", "input[type=range]")


@EACH
def test_each_position_of_the_slider_shows_one_more_gradient(name: str, browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    drawn = PICTURES[name]()
    slider = open_page(browser, drawn, tmp_path)

    def shown() -> list[str]:
        return browser.execute_script("return [...document.querySelectorAll('.gradient')].map(one => one.textContent)")

    def known() -> int:
        return sum(not text.endswith(("= ?", "= …", "no gradient")) for text in shown())

    assert known() == 0 and "step 0 of" in browser.find_element("css selector", ".step").text
    counts = []
    for step in range(1, drawn.slider_positions):
        slider.send_keys(Keys.ARROW_RIGHT)
        assert browser.find_element("css selector", ".step").text == f"step {step} of {drawn.slider_positions - 1}"
        counts.append(known())
        if step == drawn.slider_positions // 2:
            save_screenshot(browser, f"{name} half way")
    # Each step shows one more gradient, except for parameters without a box.
    assert counts == list(itertools.accumulate(int(step.node.drawn) for step in drawn.backward_steps))
    save_screenshot(browser, name)
    after = shown()
    browser.find_element("css selector", ".back").click()
    assert shown() != after or not drawn.backward_steps[-1].node.drawn
    browser.find_element("css selector", ".on").click()
    assert shown() == after
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@EACH
def test_the_texts_fit_their_boxes(name: str, browser: Any, tmp_path: Path) -> None:
    open_page(browser, PICTURES[name](), tmp_path)
    script = """
    const slider = document.querySelector("input"); slider.value = slider.max; slider.dispatchEvent(new Event("input"));
    return [...document.querySelectorAll("[data-node] text")].filter(one =>
        one.getBBox().width > one.parentNode.querySelector("rect").getBBox().width - 6).map(one => one.textContent);
    """
    assert browser.execute_script(script) == []


def save_screenshot(browser: Any, name: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(ARTEFACTS / f"{name.replace(' ', '_')}.png"))


# Errors.


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round() * 1

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:
        return v


def hidden(x: Tensor) -> Tensor:
    y = x * 1
    y[0].mul_(2)
    return (y * y).sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: picture(lambda x: x * 2, torch.ones(3)), "the result has the shape (3,)"),
        (lambda: picture(lambda x: x * 2, torch.ones(3), output=3), "output=3"),
        (lambda: picture(lambda x: (x, x), 1.0), "tuple"),
        (lambda: picture(lambda x: x.detach() * 2, 1.0), "the result, 2, has no gradient"),
        (lambda: picture(lambda x: x, "two"), "the input 'two' is a str; expected a tensor or a number."),
        (lambda: picture(3, 1.0), "picture was given a int; expected a function or a module"),
        (lambda: picture(lambda x: x, 1.0, names=("a", "b")), "names is ('a', 'b') for 1 inputs"),
        (lambda: picture(lambda x: sum(x for _ in range(200)) * 1, 1.0), "the picture would have 2"),
        (lambda: picture(hidden, torch.ones(2)), "was changed in place, through a view"),
        (lambda: picture(lambda x: Straight.apply(x) * x, 1.3), "something has a backward of its own"),
        (lambda: picture(mlp([3, 2]), torch.ones(1, 3), output=2), "output is 2; expected a whole number from 0 to 1"),
        (lambda: picture(mlp([3, 2]), torch.ones(1, 3), sample=1), "sample is 1; expected a whole number from 0 to 0"),
        (lambda: picture(mlp([3, 2])), "a network was given 0 inputs"),
    ],
)
def test_a_computation_that_cannot_be_drawn_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value)
