"""Sums of gradients, window by window."""

import torch
from torch import Tensor

from nets.calculus.norms import norm_tensors
from nets.records.contributions import WINDOWS, Page


class Ledger:
    """Sums gradients window by window, and keeps account of it. Memory is taken once, and every window uses it again."""

    def __init__(self) -> None:
        self._pages: dict[tuple[str, ...], Page] = {}
        self.total: dict[str, Tensor] = {}
        self._sums: list[Tensor] = []
        self._second: list[Tensor] = []

    def open(self, contributions: tuple[str, ...], gradients: dict[str, Tensor]) -> tuple[Page, int]:
        """The page and row of the next window, and sums that are zero."""
        if not self.total:
            self.total = {name: torch.zeros_like(gradient) for name, gradient in gradients.items()}
            self._sums = list(self.total.values())
            self._second = [torch.zeros_like(gradient) for gradient in self._sums]
        else:
            torch._foreach_zero_(self._sums)
            torch._foreach_zero_(self._second)
        page = self._pages.get(contributions)
        if page is None or page.used == WINDOWS:
            page = self._pages[contributions] = Page(tuple(gradients), contributions, self._sums[0])
        page.used += 1
        return page, page.used - 1

    def add(self, into: Tensor, loss: Tensor, gradients: dict[str, Tensor], weight: float, parts: int) -> None:
        """S ← S + w G and S′ ← S′ + N G, with ℓ, ‖G_p‖ and ‖S_p‖ written to a row of a page."""
        found = list(gradients.values())
        torch._foreach_add_(self._sums, found, alpha=weight)
        torch._foreach_add_(self._second, found, alpha=parts)
        torch.stack([loss, *norm_tensors(found + self._sums, into.dtype)], out=into)

    def take(self, total: dict[str, Tensor]) -> None:
        """S as somebody else has summed it."""
        torch._foreach_copy_(self._sums, list(total.values()))

    def close(self, into: Tensor, whole: int) -> dict[str, Tensor]:
        """S, with ‖S_p − S′_p / N‖ written to a page."""
        torch._foreach_add_(self._second, self._sums, alpha=-whole)
        torch.stack(norm_tensors(self._second, into.dtype), out=into).div_(whole)
        return self.total
