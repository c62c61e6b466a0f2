"""Comparisons of runs and of search algorithms.

- `runs`: searched networks compared with published ones or with other runs; `runs_text` prints it.
- `on_table`: search algorithms compared on a table; `on_table_text` prints it, `on_table_files` writes it.
- `timed`: search algorithms compared in real training.
"""
