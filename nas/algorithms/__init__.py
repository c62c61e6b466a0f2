"""Search algorithms. They are asked for candidates and told events, and do no input or output.

- `base`: the interface, and what all algorithms share.
- `registry`: finds an algorithm by its name.
- `frontier/`: the exact-cost frontier search, which is the default.
- `random_search`, `stratified_random`, `ageing_evolution`, `nsga2`, `optuna_tpe`, `keras_tuner`: baselines.
- `given`: trains listed networks, to tabulate a space.
"""
