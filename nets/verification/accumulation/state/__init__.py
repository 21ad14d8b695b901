"""What calls of a module, a loss or a loop can change.

- `snapshot`: everything that can be reached from them, put back after each call.
- `containers`: where an object keeps values that can change.
- `random_draws`: losses that draw random numbers, made deterministic.
"""
