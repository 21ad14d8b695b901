"""What a forward pass reads and changes besides its input and its parameters: random numbers and statistics."""

import torch


class ForwardState:
    """What a layer says of its state. A layer that draws random numbers, or moves a statistic, defines `hold`, `moving`
    and `draws`."""

    def hold(self) -> None:
        """Let every later forward pass draw the same random numbers and move no buffer. `nets.verify` holds the layers
        of its copy."""

    def moving(self) -> tuple[str, ...]:
        """The names of the own buffers that a forward pass now changes, such as a running mean or the number of the
        next mask. A layer around this one repeats a forward pass with copies of them."""
        return ()

    @property
    def draws(self) -> bool:
        """Whether the next forward pass draws random numbers, so that Y depends on the moving buffers or on the
        random generators."""
        return False

    def random_generators(self) -> dict[str, torch.Generator]:
        """The random generators that forward passes draw from, by name: those among the attributes of the layer.

        A `TrainState` keeps their states, and a layer around this one repeats a forward pass from the same states where
        `draws` is True. A layer that keeps a generator elsewhere, such as in a list, returns it here.
        """
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.Generator)}

    def reseed(self, generator: torch.Generator) -> None:
        """Draw a new seed for the random numbers of this layer, if it has any. `Network.from_torch` calls it for each
        layer that it has made, with one generator."""
