"""LSTM and GRU."""

import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers.recurrent import GRU, LSTM, Recurrent, before, slope
from tests.layer_case import BEFORE, of_torch, positions


class Torch(nn.Module):
    """The outputs of a recurrent module, without its last state."""

    def __init__(self, inner: nn.RNNBase) -> None:
        super().__init__()
        self.kind, self.sizes, self.bias = type(inner), (inner.input_size, inner.hidden_size), inner.bias
        for name, parameter in inner.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.kind(*self.sizes, bias=self.bias, batch_first=True, dtype=x.dtype)
        return torch.func.functional_call(inner, dict(self.named_parameters()), (x,))[0]


def converted(module: Torch) -> nets.Layer:
    kind: type[Recurrent] = {nn.LSTM: LSTM, nn.GRU: GRU}[module.kind]
    return kind(*module.sizes, module.bias).at(dict(module.named_parameters()))


nets.register(Torch, converted)


class OneStepBack(LSTM):
    """Truncated: the cotangent goes back by a single position."""

    def preactivation_cotangents(self, v: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        alone = super().preactivation_cotangents
        steps = [slice(t, t + 1) for t in range(x.shape[1])]
        found = [alone(v[..., t, :], x[:, t], y[:, t]) for t in steps]
        dz = torch.cat([each for each, _ in found], -2)
        return dz, dz


class CellsWithoutAPast(LSTM):
    """The cotangent of a cell does not pass through the forget gate to the cell before it: Σ over one position each."""

    def preactivation_cotangents(self, v: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = self._gates(self.from_input(x) + self.from_state(before(y)))
        c = self._cells(i, f, g)
        previous, squashed = before(c), c.tanh()
        dh, found = torch.zeros_like(v[..., 0, :]), []
        for t in reversed(range(x.shape[1])):
            dh = v[..., t, :] + dh
            dc = dh * o[:, t] * (1 - squashed[:, t] ** 2)
            di, df, dg, do = dc * g[:, t], dc * previous[:, t], dc * i[:, t], dh * squashed[:, t]
            slopes = [di * slope(i[:, t]), df * slope(f[:, t]), dg * (1 - g[:, t] ** 2), do * slope(o[:, t])]
            found.append(torch.cat(slopes, -1))
            dh = found[-1] @ self.weight_hh_l0
        dz = torch.stack(found[::-1], -2)
        return dz, dz


class ResetForgotten(GRU):
    """The cotangent of U h + c lacks the factor r of the candidate."""

    def preactivation_cotangents(self, v: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        of_input, _ = super().preactivation_cotangents(v, x, y)
        return of_input, of_input


WEIGHTS = {f"1.{kind}_{of}_l0" for kind in ("weight", "bias") for of in ("ih", "hh")}

CASES = {
    "LSTM": of_torch(
        lambda: Torch(nn.LSTM(4, 3, batch_first=True)),
        {
            "no cotangent from later positions": (OneStepBack, BEFORE | WEIGHTS),
            "no cotangent through the forget gate": (CellsWithoutAPast, BEFORE | WEIGHTS),
        },
        positions(2, 4, 3),
        (3, 2),
    ),
    "GRU": of_torch(
        lambda: Torch(nn.GRU(4, 3, batch_first=True)),
        {"reset gate forgotten": (ResetForgotten, {"1.weight_hh_l0", "1.bias_hh_l0"})},
        positions(2, 4, 3),
        (3, 2),
    ),
}

SETTINGS = {
    "LSTM without bias": (lambda: Torch(nn.LSTM(3, 2, bias=False, batch_first=True)), (2, 4, 3)),
    "GRU without bias": (lambda: Torch(nn.GRU(3, 2, bias=False, batch_first=True)), (2, 4, 3)),
    "LSTM of one position": (lambda: Torch(nn.LSTM(3, 2, batch_first=True)), (2, 1, 3)),
}
