"""Read runs, and write their results. The package imports neither TensorFlow nor Ray.

- `outcome`: all files of a finished run.
- `tables/`: trials and fronts as tables, and intervals.
- `analysis/`: reliability, rank correlation, importance of choices.
- `comparison/`: comparisons of runs and of search algorithms.
- `family/`: the family A0 to A6 and its files.
- `figures/`: figures.
- `report/`: the HTML report.
- `published/`: published results; no code.
"""
