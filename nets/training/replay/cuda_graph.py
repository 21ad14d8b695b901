"""A computation on a GPU whose kernels are captured once as a CUDA graph and launched together from then on.

What a step of a small network costs on a GPU is telling it, kernel by kernel, what to do; a graph is told once. As with
`Recording`, the function takes its tensors from places where they will be found again, and looks at no number.
"""

from collections.abc import Callable
from typing import Any

import torch


class Captured:
    """`function()` for the next launch, and the same ever after. To capture it does not do it.

    Attributes:
        result: what the function returned. Each `replay` writes its tensors anew.

    Raises:
        RuntimeError: if the function waits for the GPU, as it does where it looks at a number.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph):
            self.result = function()

    def replay(self) -> None:
        """Have it done again, after all that was asked for before; nothing waits for it."""
        self._graph.replay()


def warmed(function: Callable[[], Any]) -> Callable[[], Any]:
    """The same function, once libraries have taken the memory that they take at the first call, which no graph may do."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(beside):
        function()
    torch.cuda.current_stream().wait_stream(beside)
    return function
