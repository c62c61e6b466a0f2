"""Architecture search: propose networks, evaluate them and record the results.

- `config/`: the configuration of a search, and presets.
- `record/`: events, the event log, objectives and Pareto fronts.
- `algorithms/`: search algorithms.
- `loop/`: the search loop, early stopping, retries and the run's folder.
- `tasks/`: network families, MoViNets and those of users.
- `evaluation/`: trains a candidate on the proxy task, or simulates it.
- `execution/`: runs trials in this process, on this machine or on a Ray cluster.
- `planning/`: estimates what a search takes, before it is started.
- `monitor/`: shows a search while it runs.
- `one_shot/`: the one-shot search of the MoViNet paper.
- `benchmark/`: benchmark tables, and comparisons of search algorithms.
- `studies/`: further trainings after a search.
"""
