"""Writes the synthetic benchmark table of results/published/arena: 6 561 architectures of eight choices, three seeds.

python tests/benchmarks/synthetic_benchmark.py FILE.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic_table import synthetic_table

from nas.benchmark.table import write

if __name__ == "__main__":
    write(synthetic_table(5, choices=(3,) * 8, seeds=3, noise=0.02), Path(sys.argv[1]))
