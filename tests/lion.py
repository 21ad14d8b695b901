"""Lion as its paper writes it, for comparison: Chen et al., arXiv:2302.06675, algorithm 2."""

from collections.abc import Iterable

import torch
from torch import nn


class PaperLion(torch.optim.Optimizer):
    """c ← β₁ m + (1 − β₁) g; θ ← θ − η (sign(c) + λ θ); m ← β₂ m + (1 − β₂) g."""

    def __init__(self, theta: Iterable[nn.Parameter], eta: float, beta_1: float, beta_2: float, lam: float) -> None:
        super().__init__(theta, {"eta": eta, "beta_1": beta_1, "beta_2": beta_2, "lam": lam})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for theta in group["params"]:
                m = self.state[theta].get("m", torch.zeros_like(theta))
                c = group["beta_1"] * m + (1 - group["beta_1"]) * theta.grad
                theta.copy_(theta - group["eta"] * (torch.sign(c) + group["lam"] * theta))
                self.state[theta]["m"] = group["beta_2"] * m + (1 - group["beta_2"]) * theta.grad
