"""How much of an output and of a gradient is rounding noise. Begin with `rounding`.

- `rounding`: `StochasticRounding`, a mode in which every operation rounds at random.
- `output_noise`: the noise of each output. `row_noise`: the noise of each row of a Jacobian.
- `low_precision`: the precision that a module computes in, and rounding as in that precision.
- `slices`: sums over rows, columns and whole gradients, which have more correct digits than single entries.
"""
