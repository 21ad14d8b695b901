"""Wrong shapes are noticed in every other test."""

import pytest
import torch
from jaxtyping import TypeCheckError

from nets.calculus.losses import MeanSquaredError


def test_a_shape_that_would_broadcast_in_silence_is_refused() -> None:
    y, target = torch.zeros(2, 3), torch.zeros(1, 3)
    with pytest.raises(TypeCheckError, match="target"):
        MeanSquaredError().gradient(y, target)


def test_another_type_is_left_to_mypy() -> None:
    with pytest.raises(AttributeError):
        MeanSquaredError().check("text", torch.zeros(1, 3))  # type: ignore[arg-type]
