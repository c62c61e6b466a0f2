"""The exact-cost frontier search.

- `search`: proposes the candidate with the highest expected hypervolume improvement.
- `expected_improvement`: expected hypervolume improvement in closed form.
- `surrogate`: predicts the objective of an architecture.
- `gaussian_process`: the Gaussian process of the surrogate.
- `extrapolation`: predicts final values of trials that were stopped early.
"""
