"""Runs as tables.

- `frame`: trials, networks and fronts of a run as DataFrames.
- `trainings`: all statistics of all trainings.
- `tabulation`: a run as a benchmark table.
- `resampling`: test accuracies with resampled seeds and clips.
- `bootstrap`: bootstrap intervals.
- `hypervolume_over_time`: hypervolume during a search.
- `ranking_support`: whether a search could rank its candidates.
- `measures`: an architecture's choices as numbers.
"""
