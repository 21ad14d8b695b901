"""nets.explain: each number of an explanation equals the derivative by reverse mode."""

import math
from typing import Any

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
    """Y = tanh(W X + B) in float32, the exercise of the third document."""
    return mlp([3, 4], generator=torch.Generator().manual_seed(3))


def same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-14)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_every_number_agrees_with_reverse_mode(case: Case) -> None:
    # For each parameter, two entries, each output: derivations, notations, and the sum over the paths.
    points = {**dict(case.network.named_parameters()), "input": case.x[0]}
    y = case.network(case.x)
    for name, point in points.items():
        for index in {(0,) * point.ndim, tuple(size - 1 for size in point.shape)}:
            for k in range(y.shape[1]):
                explanation = explain(case.network, case.x, name, index, sample=-1, output=k)
                x = case.x.clone().requires_grad_()
                leaf = x if name == "input" else point
                (gradient,) = torch.autograd.grad(case.network(x)[-1, k], leaf, allow_unused=True)
                truth = float(gradient[-1][index] if name == "input" else gradient[index])
                assert same(explanation.value, truth)
                assert same(explanation.paths.total * explanation.shared_factor, truth)
                *exact, difference = explanation.derivations.values()
                assert all(same(value, truth) for value in exact), explanation.derivations
                assert math.isclose(difference, truth, rel_tol=1e-6, abs_tol=1e-8)
                assert [notation.value for notation in explanation.notations] == pytest.approx(
                    [truth] * 4, rel=1e-12, abs=1e-14
                )
                if explanation.paths.count == 1:
                    assert same(math.prod(factor.value for factor in explanation.factors), truth)
                assert (explanation.zero != "") == (explanation.value == 0)


def test_the_exercise_of_the_source_document() -> None:
    explanation = explain(exercise(), X, "0.weight", (2, 1), sample=0, output=2)
    y = float(exercise().double()(X.double())[0, 2].detach())
    assert explanation.value == pytest.approx((1 - y * y) * -1.0, rel=1e-15)
    assert dict(explanation.lines) == {
        "formula": "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j",
        "here": "∂Y_2/∂W_2,1 = δ_2,2 (1 − Y_2²) X_1",
        "in numbers": f"∂Y_2/∂W_2,1 = 1 · (1 − {f'{y:.6g}' if y > 0 else f'({y:.6g})'}²) · (-1)",
    }
    assert [factor.formula for factor in explanation.factors] == ["(1 − Y_2²)", "δ_2,2 X_1"]


def test_a_wrong_derivative_is_reported() -> None:
    class Wrong(Tanh):
        def slope(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return 1.001 * (1 - y * y)

    explanation = explain(Network([Linear(3, 2), Wrong()]), X, "0.bias[1]")
    assert "They do not agree" in explanation.agreement and "nets.verify" in str(explanation)
    assert "They do not agree" not in explain(exercise(), X, "0.bias[1]").agreement


def test_the_code_runs_by_itself() -> None:
    explanation = explain(mlp([3, 5, 4, 2]), X, "0.weight[1,2]", sample=1)
    for notation in explanation.notations:
        scope = {"nets": nets, "torch": torch, "network": mlp([3, 5, 4, 2]).double(), "x": X[1:].double()}
        *lines, last = notation.code.splitlines()
        if last.startswith(")"):  # a sum over several lines
            lines, last = [], notation.code
        exec("\n".join([explanation.setting, *lines, f"found = {last}"]), scope)
        found: Any = scope["found"]
        assert float(torch.as_tensor(found, dtype=torch.float64).detach()) == notation.value


def test_a_zero_from_delta_names_the_output_to_ask_for() -> None:
    zero = explain(exercise(), X, "0.weight", (1, 0), output=3)
    assert zero.value == 0 and zero.paths.count == 0
    assert all(fact in zero.zero for fact in ("δ_3,1 = 0", "unit 1 alone", "0.weight[1,0]", "output=1")), zero.zero
    assert "Zero: δ_3,1 = 0" in str(zero) and "-0" not in str(zero).split("Four derivations")[1].replace("e-0", "")


def test_a_zero_from_a_factor_names_the_factor() -> None:
    assert explain(exercise(), X, "0.weight", (1, 1), sample=1).zero.startswith("δ_1,1 X_1 = 0 (layer 0 Linear)")
    network = Network([Linear(3, 2), ReLU(), Linear(2, 2)])
    below = int(network[0](X)[0].argmin())
    assert float(network[0](X)[0, below].detach()) < 0
    explanation = explain(network, X, f"0.bias[{below}]", output=0)
    assert explanation.zero.startswith(f"[H1_{below} > 0] = 0 (layer 1 ReLU)")


def test_the_default_output_has_the_largest_derivative() -> None:
    assert explain(exercise(), X, "0.bias", 3).output == 3
    network = mlp([3, 5, 4])
    explanation = explain(network, X, "0.weight", (2, 2))
    others = [explain(network, X, "0.weight", (2, 2), output=k).value for k in range(4)]
    assert abs(explanation.value) == max(map(abs, others))


def test_the_sum_over_16_to_the_18th_paths() -> None:
    # Five paths are shown. The sum of the others is computed without visiting them, and not as a difference.
    network = mlp([8, *[16] * 19, 3], generator=torch.Generator().manual_seed(1)).double()
    x = torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    explanation = explain(network, x, "0.weight", (2, 3))
    assert explanation.paths.count == 16**18 and len(explanation.paths.shown) == 5
    assert explanation.paths.total * explanation.shared_factor == pytest.approx(explanation.value, rel=1e-12)


def test_more_paths_than_the_largest_float() -> None:
    explanation = explain(
        mlp([8, *[100] * 156, 3], generator=torch.Generator().manual_seed(1)), torch.ones(1, 8), "0.bias[2]"
    )
    assert explanation.paths.count == 100**155 and "1.00e+310 paths lead from" in str(explanation)


def test_a_network_too_deep_for_a_picture_is_explained_without_one() -> None:
    explanation = explain(mlp([2, *[2] * 40, 2]), torch.ones(1, 2), "0.weight", (0, 0))
    assert explanation.picture is None and "Four notations" in explanation.to_html()


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


def test_the_text_has_80_columns_and_the_page_is_self_contained(tmp_path) -> None:  # type: ignore[no-untyped-def]
    explanation = explain(mlp([8, *[16] * 6, 3], activation="gelu"), torch.ones(1, 8), "0.weight[2,3]")
    assert max(map(len, str(explanation).splitlines())) <= 80
    explanation.save(tmp_path)
    page = (tmp_path / "explanation.html").read_text("utf-8")
    assert (tmp_path / "explanation.txt").read_text("utf-8") == f"{explanation}\n"
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "") and "<script" not in page and "src=" not in page
    assert f"{explanation.value:.16g}" in page and explanation._repr_html_() in page
    assert explanation.picture is not None and explanation.picture.to_svg() in page
    assert {path.name for path in tmp_path.iterdir()} == {
        "explanation.html",
        "explanation.txt",
        "backward.html",
        "backward.svg",
    }
    with pytest.raises(InputError, match=r"explanation\.html exists already"):
        explanation.save(tmp_path)


def test_the_network_and_x_are_unchanged() -> None:
    network = exercise().requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = X.clone()
    explain(network, x, "0.weight[0,0]")
    assert torch.equal(x, X) and not x.requires_grad
    for name, parameter in network.named_parameters():
        assert parameter.grad is None and not parameter.requires_grad and torch.equal(parameter, before[name])
        assert parameter.dtype == torch.float32


def test_a_torch_module_is_explained() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    assert explain(module, X, "0.bias[1]").formula == "∂Y_k/∂B_i = δ_ki (1 − Y_k²)"


@pytest.mark.parametrize(
    ("arguments", "settings", "facts"),
    [
        (("0.wieght", (0, 0)), {}, ["'0.wieght'", "did you mean '0.weight'?"]),
        (("inputs[0]",), {}, ["'inputs'", "did you mean 'input'?"]),
        (("zzz[1]",), {}, ["'zzz'", "0.weight, 0.bias, input"]),
        (("0.weight",), {}, ["0.weight has the shape (4, 3)", "0.weight[3,2]"]),
        (("0.weight[2]",), {}, ["0.weight[2] ", "(4, 3)", "2 whole numbers", "0.weight[3,2]"]),
        (("0.weight[9,0]",), {}, ["0.weight[9,0] ", "(4, 3)", "2 whole numbers", "0.weight[3,2]"]),
        (("0.bias[x]",), {}, ["0.bias[x] ", "(4,)", "1 whole number ", "0.bias[3]"]),
        (("0.bias", True), {}, ["0.bias[True] ", "(4,)", "1 whole number ", "0.bias[3]"]),
        (("0.bias[1]", 1), {}, ["twice", "'0.bias[1]'", "as 1;"]),
        (("0.bias[1",), {}, ["'0.bias[1'", "'0.weight[3,2]'"]),
        (("0.bias[1]",), {"sample": 2}, ["sample is 2;", "from 0 to 1."]),
        (("0.bias[1]",), {"output": 4}, ["output is 4;", "from 0 to 3."]),
        (("0.bias[1]",), {"output": 1.5}, ["output is 1.5;", "from 0 to 3."]),
        (("0.bias[1]",), {"output": (4,)}, ["output is 4;", "from 0 to 3."]),
        (("0.bias[1]",), {"output": (1, 1)}, ["output is (1, 1);", "from 0 to 3."]),
    ],
)  # fmt: skip
def test_a_number_that_does_not_exist_is_refused(arguments: tuple, settings: dict, facts: list[str]) -> None:
    with pytest.raises(InputError) as error:
        explain(exercise(), X, *arguments, **settings)
    assert all(fact in str(error.value) for fact in facts), str(error.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, 2.0, 3.0]], r"X is \[\[1\.0, 2\.0, 3\.0\]\]; expected a tensor"),
        (torch.ones(1, 3, dtype=torch.int64), r"X holds .* torch\.int64, .* Linear.*; expected floating-point"),
        (torch.ones(3), r"use x\[None\]"),
        (torch.ones(1, 2), "a Linear layer with 3 inputs was given X with 2 features"),
        (torch.full((1, 3), math.nan), "X is not finite at sample 0; expected finite numbers"),
    ],
)
def test_a_wrong_batch_is_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        explain(exercise(), x, "0.bias[1]")
