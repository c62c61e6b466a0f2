"""Measures a candidate.

- `training_loop`: trains a candidate step by step and measures it.
- `proxy_trainer`: trains MoViNets on clips; `task_trainer` trains networks of a family that a user brings.
- `clip_subset`: class-balanced subsets of clips for early measurements.
- `simulation`: simulates measurements and faults without training.
- `training_free_scores`: adds scores of untrained networks to a benchmark table.
"""
