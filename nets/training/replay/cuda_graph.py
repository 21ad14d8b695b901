"""A computation on a GPU whose kernels are captured once as a CUDA graph and launched together from then on.

In a small network most of the time of a step is spent by the CPU on launching kernels one by one; a graph is launched
once. As with `Recording`, the function must use the same tensors each time and must not read a number.
"""

from collections.abc import Callable
from typing import Any

import torch


class CudaGraph:
    """The kernels of `function()`. They are captured here, and run by `replay`.

    Attributes:
        result: what the function returned. Each `replay` overwrites its tensors.

    Raises:
        RuntimeError: if the function waits for the GPU, for example to read a number.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph):
            self.result = function()

    def replay(self) -> None:
        """Queue the kernels. The CPU does not wait for them."""
        self._graph.replay()


def warmed(function: Callable[[], Any]) -> Callable[[], Any]:
    """The same function after one call, in which libraries allocate the memory that they must not allocate during a
    capture."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(beside):
        function()
    torch.cuda.current_stream().wait_stream(beside)
    return function
