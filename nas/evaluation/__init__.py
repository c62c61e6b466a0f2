"""Measures a candidate.

- `proxy_trainer`: trains a candidate on the proxy task.
- `clip_subset`: class-balanced subsets of clips for early measurements.
- `simulation`: simulates measurements and faults without training.
- `training_free_scores`: adds scores of untrained networks to a benchmark table.
"""
