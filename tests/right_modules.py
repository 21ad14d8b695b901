"""The table of right modules, which a checker of gradients has to pass, each of them, at every seed.

Most are PyTorch's own. The others are right in ways that a checker may stumble over: gradients that are zero, outputs in
dictionaries, caches, views, writes in place, branches on the data, scales far from one.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.right_compositions import COMPOSITIONS
