"""Compound scaling.

- `compound`: scales a network or a space by its coefficients.
- `expected_growth`: finds coefficients that double the expected cost of a random network.
"""
