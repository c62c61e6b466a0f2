"""The record of a run and what is computed from it.

- `events`: a trial's proposal, measurements and end.
- `ledger`: the append-only event log, from which everything else is made; `ledger_writer` appends to it.
- `objective`: names and directions of objectives.
- `pareto`: Pareto fronts, ranks and exact hypervolume.
- `hypervolume`: hypervolume by accuracy and log cost, as all displays and comparisons use it.
- `correct_clips`: which test clips a training classified correctly, packed.
- `array_file`: reads arrays of unknown origin.
"""
