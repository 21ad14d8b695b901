"""How a derivative is written, as objects that print themselves and compute their numbers.

factors: one factor of a product, products with sums over letters, and whole formulas. Begin here.
symbols: the text of a slope, such as '(1 − {y}²)', read as a function.
"""
