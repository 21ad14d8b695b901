"""What does not fit a layer is one sentence that names it, and nothing else happens."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import nets
from nets.calculus import layers as L

X = torch.zeros

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "kernel larger than positions": (lambda: L.Conv1d(2, 3, 5)(X(3, 2, 4)), r"Conv1d .*\(5,\).*\(3, 2, 4\)"),
    "kernel larger than an image": (lambda: L.Conv2d(1, 1, 3, dilation=2)(X(1, 1, 9, 4)), r"Conv2d .*\(5, 5\)"),
    "window larger than positions": (lambda: L.MaxPool1d(5)(X(3, 2, 4)), r"MaxPool1d .*\(5,\)"),
    "window larger than an image": (lambda: L.AvgPool2d((2, 5))(X(3, 2, 4, 4)), r"AvgPool2d .*\(2, 5\)"),
    "groups that do not divide the inputs": (lambda: L.Conv1d(3, 4, 1, groups=2), "groups is 2 and in_channels 3"),
    "groups that do not divide the outputs": (lambda: L.Conv2d(4, 3, 1, groups=2), "groups is 2 and out_channels 3"),
    "groups of a normalization": (lambda: L.GroupNorm(4, 6), "num_groups is 4 and num_channels 6"),
    "channels of a convolution": (lambda: L.Conv2d(3, 4, 1)(X(2, 2, 5, 5)), r"3 channels .*\(2, 2, 5, 5\)"),
    "axes of a convolution": (lambda: L.Conv2d(3, 4, 1)(X(2, 3, 5)), r"4 axes"),
    "channels of a normalization": (lambda: L.GroupNorm(2, 4)(X(2, 3, 5)), r"4 channels .*\(2, 3, 5\)"),
    "features of a normalization": (lambda: L.LayerNorm(4)(X(2, 3)), r"LayerNorm over \(4,\) .*\(2, 3\)"),
    "features of another normalization": (lambda: L.RMSNorm((2, 4))(X(3, 4, 2)), r"RMSNorm over \(2, 4\)"),
    "samples that would be normalized": (lambda: L.LayerNorm((3, 4))(X(3, 4)), r"LayerNorm over \(3, 4\)"),
    "axes of a pool": (lambda: L.AdaptiveAvgPool2d(1)(X(2, 3, 4)), r"AdaptiveAvgPool2d .*4 axes"),
    "padding of a pool": (lambda: L.MaxPool1d(2, padding=2), r"padding is \(2,\)"),
    "sizes of a kernel": (lambda: L.Conv2d(1, 1, (1, 2, 3)), r"kernel_size is \(1, 2, 3\); expected .* 2 of them"),
    "kernel of text": (lambda: L.Conv2d(1, 1, "3"), "kernel_size is '3'"),
    "no groups": (lambda: L.Conv1d(2, 2, 1, groups=0), "groups is 0"),
    "axis of the samples": (lambda: L.Softmax(0)(X(2, 3)), r"Softmax over the axis 0 .*\(2, 3\)"),
    "axis that is not there": (lambda: L.LogSoftmax(2)(X(2, 3)), r"LogSoftmax over the axis 2"),
    "flatten the samples": (lambda: L.Flatten(0)(X(2, 3)), "start_dim of a Flatten is 0"),
    "flatten backwards": (lambda: L.Flatten(2, 1)(X(2, 3, 4)), "start_dim is 2 and end_dim 1"),
    "unflatten to other sizes": (lambda: L.Unflatten(1, (2, 2))(X(2, 6)), r"\(2, 2\) was given 6"),
    "reshape to other sizes": (lambda: L.Reshape(4, -1)(X(2, 6)), r"\(4, -1\) was given 6"),
    "negative ε": (lambda: L.LayerNorm(4, eps=-1.0), "eps is -1"),
    "bounds in the wrong order": (lambda: L.Hardtanh(1.0, 1.0), "min_val is 1.0 and max_val 1.0"),
    "a module with other settings": (
        lambda: nets.Network.from_torch(nn.Conv1d(1, 1, 2, padding="same")),
        r"the module is Conv1d.*nets\.register",
    ),
    "padding by reflection": (
        lambda: nets.Network.from_torch(nn.Conv2d(1, 1, 1, padding_mode="reflect")),
        "the module is Conv2d",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_layer_or_input_that_does_not_fit_is_refused_in_one_sentence(name: str) -> None:
    act, fact = BAD[name]
    with pytest.raises(nets.InputError, match=fact) as caught:
        act()
    assert "; expected " in str(caught.value) and "\n" not in str(caught.value)
