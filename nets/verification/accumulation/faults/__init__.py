"""What a loop that accumulates a wrong gradient did instead.

- `diagnosis`: the entry; compares the gradient that the loop left with what each known mistake gives.
- `evidence`: the wrong gradient and everything that is known about it.
- `patterns`: the coefficients that known mistakes give to the micro-batches. `clipping`: gradients clipped too early.
"""
