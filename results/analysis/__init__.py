"""What the measurements of a run or a table are worth.

- `reliability`: reliability of each statistic, from `variance_components`; `reliability_report` prints and draws it.
- `proxy_correlation`: how well cheap measurements rank networks, by `rank_correlation`.
- `importance`: which choices matter, by analysis of variance.
- `validation`: whether a search holds for long trainings and large networks.
- `reproduction`: whether a network trained again does what was recorded.
- `coefficients`: the result of a search for scaling coefficients.
"""
