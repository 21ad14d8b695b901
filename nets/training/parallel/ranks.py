"""The processes that a run is made of: one, unless `torchrun` has started several."""

import contextlib
import os
from typing import TYPE_CHECKING

from nets.training.gradients.accumulation import accumulated

if TYPE_CHECKING:
    from nets.training.parallel.distributed import Ranks


class Alone:
    """The only process of its run."""

    rank, count = 0, 1
    along = staticmethod(accumulated)

    def together(self) -> contextlib.AbstractContextManager[None]:
        """There is nobody to wait for."""
        return contextlib.nullcontext()


def joined() -> "contextlib.AbstractContextManager[Alone | Ranks]":
    """The ranks of this run, as the environment has them."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return contextlib.nullcontext(Alone())
    from nets.training.parallel.distributed import several  # which takes a second to import

    return several()
