"""Which differences rounding explains.

- `modes`: stochastic rounding that leaves some operations exact.
- `equality`: whether two vectors are equal up to rounding.
"""
