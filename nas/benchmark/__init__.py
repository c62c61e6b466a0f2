"""Benchmark tables and comparisons of search algorithms.

- `table`: a tabular benchmark; `table_cells` reads and writes its CSV file.
- `row_space`: a search space that consists of the rows of a table.
- `table_comparison`: runs algorithms on a table.
- `timed_comparison`: runs algorithms in real training for equal time.
"""
