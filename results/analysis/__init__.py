"""Statistical analysis of a run or a benchmark table.

- `reliability`: reliability of each statistic, from `variance_components`; `reliability_report` prints and draws it.
- `proxy_correlation`: how well cheap measurements rank networks, by `rank_correlation`.
- `importance`: which choices matter, by analysis of variance.
- `validation`: whether a search holds for long trainings and large networks.
- `reproduction`: whether retraining a network reproduces the recorded accuracy.
- `coefficients`: the result of a search for scaling coefficients.
"""
