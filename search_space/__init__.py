"""Description of networks: their architecture, cost, variation and scaling.

The package imports only numpy, PyYAML and pydantic.

- `architecture`: the data class of one network, which all packages share.
- `variant`: the variants of a network, such as the causal one for streams.
- `published`: the published networks A0 to A5 and T0.
- `network`: one network with its costs and its origin, as a file.
- `rounding`: the channel rounding of the TF Model Garden.
- `cost/`: exact costs.
- `space/`: search spaces and random draws from them.
- `scaling/`: compound scaling.
- `base/`: errors, files and text, used by all packages.
"""
