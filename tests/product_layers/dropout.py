"""Dropout in evaluation mode; tests/test_dropout.py has it in training."""

from torch import nn

from tests.layer_case import LayerCase

CASES: dict[str, LayerCase] = {}

SETTINGS = {"dropout in evaluation mode": (lambda: nn.Dropout(0.3).eval(), (3, 4))}
