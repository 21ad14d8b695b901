"""A backward that reads an input which it kept as an attribute of ctx: it passes, with a note."""

from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from tests.building import Written
from tests.wrong.functions import Saved


class SineOfItsInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.x = x.detach()
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.x.cos()


class SineOfItsSavedInput(Saved):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.saved_tensors[0].cos()


@pytest.mark.parametrize(("function", "noted"), [(SineOfItsInput, True), (SineOfItsSavedInput, False)])
def test_an_input_kept_on_ctx_passes_with_a_note(function: Any, noted: bool) -> None:
    certificate = nets.verify(Written(lambda m, x: function.apply(x)), torch.linspace(-1, 1, 6).view(2, 3))
    assert certificate.passed
    assert any("not saved with ctx.save_for_backward" in note for note in certificate.notes) == noted
