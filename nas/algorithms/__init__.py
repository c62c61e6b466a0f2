"""Search algorithms with an ask/tell interface, without input or output.

- `base`: the interface and common parts of all algorithms.
- `registry`: finds an algorithm by its name.
- `frontier/`: the exact-cost frontier search, which is the default.
- `random_search`, `stratified_random`, `ageing_evolution`, `nsga2`, `optuna_tpe`, `keras_tuner`: baselines.
- `given`: enumeration of listed networks, to tabulate a space.
"""
