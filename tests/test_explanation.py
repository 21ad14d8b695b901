"""One number, told in full: every figure in it comes from a computation, and all of them agree."""

import math

import pytest
import torch
from torch import nn

import nets
from nets.calculus.layers import Linear, ReLU, Tanh
from nets.calculus.network import Network, mlp
from nets.errors import InputError
from nets.explanation.explain.explain import explain
from nets.explanation.paths import local_jacobians, paths_between
from tests.cases import NETWORKS, Case

X = torch.tensor([[0.5, -1.0, 0.25], [2.0, 0.0, -0.5]])


def exercise() -> Network:
    """Y = tanh(W X + B), the exercise of the source document, in float32."""
    return mlp([3, 4], generator=torch.Generator().manual_seed(3))


def same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-14)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_every_figure_is_that_of_reverse_mode(case: Case) -> None:
    # Every point, two entries each, every output: derivations, notations, and the sum over the paths.
    points = {**dict(case.network.named_parameters()), "input": case.x[0]}
    y = case.network(case.x)
    for name, point in points.items():
        for index in {(0,) * point.ndim, tuple(size - 1 for size in point.shape)}:
            for k in range(y.shape[1]):
                told = explain(case.network, case.x, name, index, sample=-1, output=k)
                x = case.x.clone().requires_grad_()
                leaf = x if name == "input" else point
                (gradient,) = torch.autograd.grad(case.network(x)[-1, k], leaf, allow_unused=True)
                truth = float(gradient[-1][index] if name == "input" else gradient[index])
                assert same(told.value, truth)
                assert same(told.paths.total * told.shared_factor, truth)
                *exact, difference = told.derivations.values()
                assert all(same(value, truth) for value in exact), told.derivations
                assert math.isclose(difference, truth, rel_tol=1e-6, abs_tol=1e-8)
                assert [notation.value for notation in told.notations] == pytest.approx(
                    [truth] * 4, rel=1e-12, abs=1e-14
                )
                if told.paths.count == 1:
                    assert same(math.prod(factor.value for factor in told.factors), truth)
                assert (told.zero != "") == (told.value == 0)


def test_the_exercise_of_the_source_document() -> None:
    told = explain(exercise(), X, "0.weight", (2, 1), sample=0, output=2)
    y = float(exercise().double()(X.double())[0, 2].detach())
    assert told.value == pytest.approx((1 - y * y) * -1.0, rel=1e-15)
    assert dict(told.lines) == {
        "formula": "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j",
        "here": "∂Y_2/∂W_2,1 = δ_2,2 (1 − Y_2²) X_1",
        "in numbers": f"∂Y_2/∂W_2,1 = 1 · (1 − {f'{y:.6g}' if y > 0 else f'({y:.6g})'}²) · (-1)",
    }
    assert [factor.formula for factor in told.factors] == ["(1 − Y_2²)", "δ_2,2 X_1"]


def test_a_wrong_derivative_shows() -> None:
    class Wrong(Tanh):
        def slope(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return 1.001 * (1 - y * y)

    told = explain(Network([Linear(3, 2), Wrong()]), X, "0.bias[1]")
    assert "They do not agree" in told.agreement and "nets.verify" in str(told)
    assert "They do not agree" not in explain(exercise(), X, "0.bias[1]").agreement


def test_code_can_be_copied() -> None:
    # What is shown, run by itself.
    told = explain(mlp([3, 5, 4, 2]), X, "0.weight[1,2]", sample=1)
    for notation in told.notations:
        scope = {"nets": nets, "torch": torch, "network": mlp([3, 5, 4, 2]).double(), "x": X[1:].double()}
        *lines, last = notation.code.splitlines()
        if last.startswith(")"):  # a sum over several lines
            lines, last = [], notation.code
        exec("\n".join([told.setting, *lines, f"found = {last}"]), scope)
        assert float(torch.as_tensor(scope["found"], dtype=torch.float64).detach()) == notation.value  # type: ignore[arg-type]


def test_delta_is_told() -> None:
    zero = explain(exercise(), X, "0.weight", (1, 0), output=3)
    assert zero.value == 0 and zero.paths.count == 0
    assert zero.zero == (
        "δ_3,1 = 0: it feeds unit 1 alone, and every later layer works on each unit by itself, "
        "so Y_3 does not depend on 0.weight[1,0]; ask for output=1."
    )
    assert "Zero: δ_3,1 = 0" in str(zero) and "-0" not in str(zero).split("Four derivations")[1].replace("e-0", "")


def test_other_reasons_for_zero_are_told() -> None:
    assert explain(exercise(), X, "0.weight", (1, 1), sample=1).zero.startswith("δ_1,1 X_1 = 0 (layer 0 Linear)")
    network = Network([Linear(3, 2), ReLU(), Linear(2, 2)])
    below = int(network[0](X)[0].argmin())
    assert float(network[0](X)[0, below].detach()) < 0
    told = explain(network, X, f"0.bias[{below}]", output=0)
    assert told.zero.startswith(f"[H1_{below} > 0] = 0 (layer 1 ReLU)")


def test_the_output_is_chosen_so_that_there_is_something_to_see() -> None:
    assert explain(exercise(), X, "0.bias", 3).output == 3
    network = mlp([3, 5, 4])
    told = explain(network, X, "0.weight", (2, 2))
    others = [explain(network, X, "0.weight", (2, 2), output=k).value for k in range(4)]
    assert abs(told.value) == max(map(abs, others))


def test_paths_beyond_counting_still_add_up() -> None:
    # 16^18 paths, of which five are shown; the others are summed without any of them being visited or subtracted.
    network = mlp([8, *[16] * 19, 3], generator=torch.Generator().manual_seed(1)).double()
    x = torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    told = explain(network, x, "0.weight", (2, 3))
    assert told.paths.count == 16**18 and len(told.paths.shown) == 5
    assert told.paths.total * told.shared_factor == pytest.approx(told.value, rel=1e-12)


def test_a_network_too_deep_to_be_drawn_is_told_all_the_same() -> None:
    told = explain(mlp([2, *[2] * 40, 2]), torch.ones(1, 2), "0.weight", (0, 0))
    assert told.picture is None and "Four notations" in told.to_html()


def test_the_largest_paths_are_the_largest() -> None:
    network = mlp(
        [3, 4, 3, 2], activation="sigmoid", output="identity", generator=torch.Generator().manual_seed(1)
    ).double()
    values = [value[:1].detach() for value in network.trace(X.double())]
    found = paths_between(local_jacobians(network, values, 0), 1, {2: 1.0}, 3)
    w4, w2, w0 = (network[index].weight.detach() for index in (4, 2, 0))
    s3, s1 = (values[index][0] * (1 - values[index][0]) for index in (4, 2))
    each = {(a, b): float(w4[1, a] * s3[a] * w2[a, b] * s1[b] * w0[b, 2]) for a in range(3) for b in range(4)}
    largest = sorted(each, key=lambda one: -abs(each[one]))[:5]
    assert [(path.units[1], path.units[3]) for path in found.shown] == largest
    assert [path.product for path in found.shown] == pytest.approx([each[one] for one in largest])
    assert found.rest == pytest.approx(sum(each[one] for one in each if one not in largest))
    assert found.count == 12


def test_text_fits_a_terminal_and_a_page_needs_nothing_else(tmp_path) -> None:  # type: ignore[no-untyped-def]
    told = explain(mlp([8, *[16] * 6, 3], activation="gelu"), torch.ones(1, 8), "0.weight[2,3]")
    assert max(map(len, str(told).splitlines())) <= 80
    told.save(tmp_path)
    page = (tmp_path / "explanation.html").read_text("utf-8")
    assert (tmp_path / "explanation.txt").read_text("utf-8") == f"{told}\n"
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "") and "<script" not in page and "src=" not in page
    assert f"{told.value:.16g}" in page and told._repr_html_() in page
    assert told.picture is not None and told.picture.to_svg() in page
    assert {path.name for path in tmp_path.iterdir()} == {
        "explanation.html",
        "explanation.txt",
        "backward.html",
        "backward.svg",
    }
    with pytest.raises(InputError, match=r"explanation\.html exists already"):
        told.save(tmp_path)


def test_the_network_is_left_alone() -> None:
    network = exercise().requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = X.clone()
    explain(network, x, "0.weight[0,0]")
    assert torch.equal(x, X) and not x.requires_grad
    for name, parameter in network.named_parameters():
        assert parameter.grad is None and not parameter.requires_grad and torch.equal(parameter, before[name])
        assert parameter.dtype == torch.float32


def test_a_torch_module_will_do() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    assert explain(module, X, "0.bias[1]").formula == "∂Y_k/∂B_i = δ_ki (1 − Y_k²)"


TWO = "expected 2 whole numbers as index, up to 0.weight[3,2]."
ONE = "expected 1 whole number as index, up to 0.bias[3]."
WRITE = "write NAME[INDEX], such as '0.weight[3,2]'."


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("0.wieght", (0, 0)), {}, "the network has no '0.wieght'; did you mean '0.weight'?"),
        (("inputs[0]",), {}, "the network has no 'inputs'; did you mean 'input'?"),
        (("zzz[1]",), {}, "the network has no 'zzz'; expected one of 0.weight, 0.bias, input."),
        (("0.weight",), {}, "0.weight has the shape (4, 3); expected an index of one number, up to 0.weight[3,2]."),
        (("0.weight[2]",), {}, "0.weight[2] is no number of 0.weight, whose shape is (4, 3); " + TWO),
        (("0.weight[9,0]",), {}, "0.weight[9,0] is no number of 0.weight, whose shape is (4, 3); " + TWO),
        (("0.bias[x]",), {}, "0.bias[x] is no number of 0.bias, whose shape is (4,); " + ONE),
        (("0.bias", True), {}, "0.bias[True] is no number of 0.bias, whose shape is (4,); " + ONE),
        (("0.bias[1]", 1), {}, "the index was given twice, in '0.bias[1]' and as 1; expected it once: leave one of them out."),
        (("0.bias[1",), {}, "the number to explain is '0.bias[1'; expected one of the network's: " + WRITE),
        (("0.bias[1]",), {"sample": 2}, "sample is 2; expected a whole number from 0 to 1."),
        (("0.bias[1]",), {"output": 4}, "output is 4; expected a whole number from 0 to 3."),
        (("0.bias[1]",), {"output": 1.5}, "output is 1.5; expected a whole number from 0 to 3."),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told(arguments: tuple, settings: dict, message: str) -> None:
    with pytest.raises(InputError) as told:
        explain(exercise(), X, *arguments, **settings)
    assert str(told.value) == message


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, 2.0, 3.0]], "X is list; expected a tensor of floating-point numbers"),
        (torch.ones(1, 3, dtype=torch.int64), "X is torch.int64; expected a tensor of floating-point"),
        (torch.ones(3), r"use x\[None\]"),
        (torch.ones(1, 2), "a Linear layer with 3 inputs was given X with 2 features"),
        (torch.full((1, 3), math.nan), "X is not finite at sample 0; expected finite numbers"),
    ],
)
def test_a_batch_that_will_not_do_is_told(x: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        explain(exercise(), x, "0.bias[1]")
