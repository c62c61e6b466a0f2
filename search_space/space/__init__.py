"""Search spaces and random draws from them.

- `choices`: a search space as an ordered list of choices.
- `movinet`: the MoViNet space, from the paper or from a YAML file.
- `sampling`: uniform, cost-limited and FLOPs-stratified random draws.
- `dead_options`: finds kernel options that compute the same function.
"""
