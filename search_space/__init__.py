"""Describes networks: what a network is, what it costs, how it varies and how it scales.

The package needs only numpy and PyYAML.

- `architecture`: the data class of one network, which all packages share.
- `variant`: the variants of a network, such as the causal one for streams.
- `published`: the released networks A0 to A5 and T0.
- `network`: one network with its costs and its origin, as a file.
- `rounding`: the channel rounding of the release.
- `cost/`: exact costs.
- `space/`: search spaces and random draws from them.
- `scaling/`: compound scaling.
- `base/`: errors, files and text, on which all packages stand.
"""
