"""The layers of docs/design.md, enforced: who may import whom, and what stays out of a process that only reads runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_space", "nas", "movinet", "results")

# What a module may import beyond the standard library. The most specific row that fits the module counts.
MAY_IMPORT = {
    "search_space": {"search_space", "numpy", "yaml"},
    "movinet": {"movinet", "search_space", "numpy", "yaml", "tensorflow", "keras"},
    "movinet.object_graph": {"movinet", "numpy", "tensorflow", "google"},
    "movinet.checkpoint_index": {"search_space", "tensorflow", "google"},
    "movinet.h5_weights": {"search_space", "numpy", "h5py"},
    "movinet.engine": {"movinet", "search_space", "numpy"},
    "movinet.fused": {"movinet.fused", "search_space", "numpy", "numba"},
    "movinet.fused.layers": {"movinet.fused", "movinet.specs", "numpy"},
    "movinet.fused.optimizer": {"movinet.fused", "movinet.recipe", "movinet.specs", "numpy"},
    "movinet.fused.network": {
        "movinet.fused",
        "movinet.recipe",
        "movinet.specs",
        "search_space",
        "numpy",
        "scipy",
        "threadpoolctl",
    },
    "movinet.train": {"movinet", "search_space", "tensorflow", "gin"},
    "movinet.deploy.interpreter": {"numpy", "ai_edge_litert"},
    "movinet.data": {"movinet.data", "search_space", "numpy", "yaml", "av"},
    "nas": {"nas", "search_space", "numpy", "yaml", "rich"},
    "nas.config": {"nas", "search_space", "movinet.recipe"},  # plain data
    "nas.ledger": {"nas", "search_space", "orjson"},
    "nas.trial": {"nas", "search_space", "numpy", "movinet"},  # where candidates are trained
    "nas.one_shot": {"nas", "search_space", "numpy", "movinet"},  # where the supernet is trained
    "nas.scores": {"nas", "search_space", "numpy", "movinet"},  # where they are scored without training
    "nas.coefficients": {"nas", "search_space", "numpy"},  # clips of any number of frames
    "nas.ray_executor": {"nas", "search_space", "ray"},
    "nas.ray_trackers": {"nas", "search_space", "ray", "mlflow"},
    "nas.event_files": {"nas", "search_space", "tensorboard"},
    "nas.cluster": {"nas", "search_space", "ray"},
    "nas.mirror": {"nas", "search_space", "pyarrow"},
    "nas.node_data": {"nas", "search_space", "movinet.data", "pyarrow"},
    "nas.algorithms.optuna_tpe": {"nas", "search_space", "numpy", "optuna"},
    "nas.keras_tuner_adapter": {"nas", "search_space", "numpy", "movinet", "keras_tuner", "keras"},  # builds models
    "results.completion": {"results", "search_space", "shtab"},
    "results": {"results", "search_space", "numpy", "yaml", "pandas", "matplotlib"}
    | {
        "nas.arena",
        "nas.bands",
        "nas.correct",
        "nas.hypervolume",
        "nas.ledger",
        "nas.objective",
        "nas.pareto",
        "nas.table",
        "nas.table_cells",
        "nas.trials",
    },
}

# What only reads runs, spaces or data must start in about a second.
QUICK_TO_IMPORT = (
    "search_space",
    "nas.algorithms",
    "nas.hypervolume",
    "nas.ledger",
    "nas.pareto",
    "movinet.data",
    "results",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imports(source: str) -> Iterator[str]:
    """Full dotted names (`from a import b` is a.b), imports inside functions and for type checkers included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def violations(module: str, source: str) -> list[str]:
    allowed = MAY_IMPORT[max((row for row in MAY_IMPORT if within(module, row)), key=len)]
    return [
        name
        for name in imports(source)
        if name.partition(".")[0] not in sys.stdlib_module_names and not any(within(name, target) for target in allowed)
    ]


def own_module(name: str) -> str | None:
    """The module of ours that a dotted name is, or is defined in."""
    while name and name not in SOURCES:
        name = name.rpartition(".")[0]
    return name or None


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    assert violations(module, SOURCES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("search_space.cost", "import tensorflow"),
        ("search_space.cost", "from nas import pareto"),
        ("search_space.cost", "def late():\n    import pandas"),
        ("movinet.model", "from nas.trials import Event"),
        ("movinet.data.store", "import keras"),
        ("movinet.data.store", "from movinet import ops"),
        ("nas.search", "import movinet.model"),
        ("nas.search", "from ray import tune"),
        ("nas.ray_executor", "from movinet import proxy"),
        ("nas.algorithms.algorithm", "import keras_tuner as kt"),
        ("nas.ledger", "import pandas as pd"),
        ("results.frame", "from nas import search"),
        ("results.frame", "from nas.ledger_reader import read"),
        ("results.frame", "import run_search"),
        ("results.frame", "from . import plot"),
    ],
)
def test_an_import_against_the_layers_is_seen(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


def test_no_two_modules_import_each_other() -> None:
    graph = {
        module: {own_module(name) for name in imports(path.read_text(encoding="utf-8"))} - {None, module}
        for module, path in SOURCES.items()
    }
    assert set(TopologicalSorter(graph).static_order()) == set(SOURCES)  # CycleError names the cycle


@pytest.mark.parametrize("package", sorted({str(path.parent.relative_to(ROOT)) for path in SOURCES.values()}))
def test_a_package_begins_with_its_map_and_nothing_else(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def test_reading_a_run_loads_neither_tensorflow_nor_ray() -> None:
    quick = [module for module in SOURCES if any(within(module, part) for part in QUICK_TO_IMPORT)]
    program = f"import sys, {', '.join(quick)}, run_search\nprint({{'tensorflow', 'keras', 'ray'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("set()\n", "")
