"""What a forward pass reads and changes besides its input and its parameters: random numbers and statistics."""


class ForwardState:
    """What a layer says of its state. A layer that draws random numbers, or moves a statistic, defines the three."""

    def hold(self) -> None:
        """Let every later forward pass draw the same random numbers and move no buffer. `nets.verify` holds the layers
        of its copy."""

    def moving(self) -> tuple[str, ...]:
        """The names of the own buffers that a forward pass now changes, such as a running mean or the number of the
        next mask. A layer around this one repeats a forward pass with copies of them."""
        return ()

    @property
    def draws(self) -> bool:
        """Whether the next forward pass draws random numbers, so that Y depends on the moving buffers."""
        return False
