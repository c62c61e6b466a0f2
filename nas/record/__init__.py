"""The record of a run and derived numbers.

- `events`: a trial's proposal, measurements and end.
- `ledger`: the append-only event log, from which everything else is derived; `ledger_writer` appends to it.
- `objective`: names and directions of objectives.
- `pareto`: Pareto fronts, ranks and exact hypervolume.
- `hypervolume`: hypervolume by accuracy and log cost, for all displays and comparisons.
- `correct_clips`: the correctly classified test clips of a training, packed.
- `array_file`: reads arrays of unknown origin.
"""
