"""The processes of a run: one, unless `torchrun` has started several."""

import contextlib
import os
from typing import TYPE_CHECKING

from nets.training.gradients.accumulation import MicroBatches

if TYPE_CHECKING:
    from nets.training.parallel.process_group import Ranks


class SingleProcess(MicroBatches):
    """The only process of its run; a gradient source, as `Ranks` is."""

    rank, count = 0, 1

    def together(self) -> contextlib.AbstractContextManager[None]:
        """There is no other process to wait for."""
        return contextlib.nullcontext()


def joined() -> "contextlib.AbstractContextManager[SingleProcess | Ranks]":
    """The ranks of this run, as the environment describes them."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return contextlib.nullcontext(SingleProcess())
    from nets.training.parallel.process_group import process_group  # takes a second to import

    return process_group()
