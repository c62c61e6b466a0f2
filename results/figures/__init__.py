"""Figures.

- `style`: sizes, fonts and colours of all figures.
- `run`: front and hypervolume of a run.
- `runs_comparison`, `table_comparison`: comparisons.
- `evaluation`: the evaluation of one network; `stream`: one stream, frame by frame.
"""
