"""Exact costs of a network.

- `operations`: the operations of a network with their sizes.
- `counting`: multiply-adds, parameters, stream state and activation bytes.
- `labels`: names and units in which costs are shown.
"""
