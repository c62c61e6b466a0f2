"""Further trainings that start from a finished run.

- `validation`: trains the selected and the published networks longer and at a larger scale.
- `parent_variants`: trains scaled variants of the best parents of a family.
- `coefficients`: searches for coefficients of compound scaling.
- `reproduce`: retrains a network of a run.
"""
