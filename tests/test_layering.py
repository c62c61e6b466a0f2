"""Test that imports follow the layers of docs/explanation/design.md, and that reading a run loads no framework."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_space", "nas", "movinet", "results", "movinet_nas", "cli")

# Modules that a module may import beyond the standard library. The most specific row that matches the module counts.
MAY_IMPORT = {
    "search_space": {"search_space", "numpy", "yaml", "pydantic"},
    "movinet": {"movinet", "search_space", "numpy", "yaml", "tensorflow", "keras"},
    "movinet.weights.object_graph": {"movinet", "numpy", "tensorflow", "google"},
    "movinet.weights.checkpoint_index": {"search_space", "tensorflow", "google"},
    "movinet.weights.h5_weights": {"search_space", "numpy", "h5py"},
    "movinet.proxy.engine": {"movinet", "search_space", "numpy"},
    "movinet.proxy.fused": {"movinet.proxy.fused", "search_space", "numpy", "numba"},
    "movinet.proxy.fused.layers": {"movinet.proxy.fused", "movinet.model.specs", "numpy"},
    "movinet.proxy.fused.optimizer": {"movinet.proxy.fused", "movinet.proxy.recipe", "movinet.model.specs", "numpy"},
    "movinet.proxy.fused.network": {
        "movinet.model.area",
        "movinet.proxy.fused",
        "movinet.proxy.recipe",
        "movinet.model.specs",
        "search_space",
        "numpy",
        "scipy",
        "threadpoolctl",
    },
    "movinet.training.config": {"movinet.training", "search_space", "yaml", "pydantic"},
    "movinet.model.area": {"numpy"},  # also for engines without TensorFlow
    "movinet.train": {"movinet", "search_space", "tensorflow", "gin"},
    "movinet.deploy.interpreter": {"numpy", "ai_edge_litert"},
    "movinet.data": {"movinet.data", "search_space", "numpy", "yaml", "av"},
    "search_space.base.machine": {"psutil"},
    "nas": {"nas", "search_space", "numpy", "yaml", "rich"},
    "nas.config": {"nas", "search_space", "movinet.proxy.recipe", "numpy", "pydantic"},  # plain data
    "nas.record.ledger": {"nas", "search_space", "orjson"},
    "nas.evaluation.proxy_trainer": {"nas", "search_space", "numpy", "movinet"},  # where candidates are trained
    "nas.one_shot.tunas": {"nas", "search_space", "numpy", "movinet"},  # where the supernet is trained
    "nas.evaluation.training_free_scores": {"nas", "search_space", "numpy", "movinet"},  # scored without training
    "nas.studies.coefficients": {"nas", "search_space", "numpy"},  # clips of any number of frames
    "nas.planning": {"nas", "search_space", "numpy", "movinet"},  # times real steps, looks at videos
    "nas.execution.ray_tune": {"nas", "search_space", "psutil", "ray"},
    "nas.monitor.ray_trackers": {"nas", "search_space", "ray", "mlflow"},
    "nas.monitor.event_file": {"nas", "search_space", "tensorboard"},
    "nas.execution.ray_cluster": {"nas", "search_space", "ray"},
    "nas.execution.object_store": {"nas", "search_space", "pyarrow"},
    "nas.execution.node_data": {"nas", "search_space", "movinet.data", "pyarrow"},
    "nas.algorithms.frontier.expected_improvement": {"nas", "numpy", "scipy.special"},
    "nas.algorithms.optuna_tpe": {"nas", "search_space", "numpy", "optuna"},
    "nas.algorithms.keras_tuner": {"nas", "search_space", "numpy", "movinet", "keras_tuner", "keras"},  # builds models
    "results": {"results", "search_space", "numpy", "yaml", "pandas", "matplotlib", "scipy.special", "pydantic"}
    | {
        "nas.benchmark.table_comparison",
        "nas.loop.early_stopping",
        "nas.record.correct_clips",
        "nas.record.hypervolume",
        "nas.record.ledger",
        "nas.record.objective",
        "nas.record.pareto",
        "nas.benchmark.table",
        "nas.benchmark.table_cells",
        "nas.record.events",
    },
    "movinet_nas": {"movinet_nas", "results", "nas", "search_space", "numpy", "pandas"},
    "movinet_nas.extend": {"nas", "search_space", "movinet.data"},
    "movinet_nas.contracts": {"movinet_nas", "nas", "search_space", "movinet.data", "numpy"},
    "movinet_nas.networks": {"movinet", "search_space", "keras", "tensorflow"},
    "cli": {"cli", "movinet_nas.runs", "results", "nas", "search_space", "numpy", "yaml", "pandas"},
    "cli.completion": {"cli", "search_space", "shtab"},
    "cli.schemas": {"search_space", "nas", "results", "movinet.training.config"},
    "cli.describe": {"results", "search_space"},
}

# Modules that only read runs, spaces or data must load in about a second.
QUICK_TO_IMPORT = (
    "search_space",
    "nas.algorithms.base",
    "nas.algorithms.frontier",
    "nas.algorithms.registry",
    "nas.record",
    "movinet.data",
    "results",
    "movinet_nas",
    "cli",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imports(source: str) -> Iterator[str]:
    """Return full dotted names (`from a import b` is a.b), also of imports inside functions and for type checkers."""
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
    """Return the module of this project that a dotted name is or is defined in."""
    while name and name not in SOURCES:
        name = name.rpartition(".")[0]
    return name or None


def test_a_module_imports_only_what_its_layer_may() -> None:
    found = {module: violations(module, path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("search_space.cost.counting", "import tensorflow"),
        ("search_space.cost.counting", "from nas import pareto"),
        ("search_space.cost.counting", "def late():\n    import pandas"),
        ("movinet.model.keras_model", "from nas.record.events import Event"),
        ("movinet.data.store", "import keras"),
        ("movinet.data.store", "from movinet import ops"),
        ("nas.loop.search", "import movinet.model.keras_model"),
        ("nas.loop.search", "from ray import tune"),
        ("nas.execution.ray_tune", "from movinet import proxy"),
        ("nas.algorithms.base", "import keras_tuner as kt"),
        ("nas.record.ledger", "import pandas as pd"),
        ("results.tables.frame", "from nas import search"),
        ("results.tables.frame", "from nas.ledger_reader import read"),
        ("results.tables.frame", "import run_search"),
        ("results.tables.frame", "from . import plot"),
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


def test_a_package_begins_with_its_map_and_nothing_else() -> None:
    public = {ROOT / "movinet_nas", ROOT / "movinet_nas" / "contracts"}
    for package in {path.parent for path in SOURCES.values()} - public:
        tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree) and len(tree.body) == 1, package


def test_what_only_reads_loads_no_framework() -> None:
    """Import all groups in one process; each check includes the groups before it."""
    quick = [module for module in SOURCES if any(within(module, part) for part in QUICK_TO_IMPORT)]
    heavy = {"tensorflow", "keras", "ray", "matplotlib.pyplot"}  # pyplot would bring a window system
    groups = (
        (["movinet_nas", "nas.evaluation.simulation"], heavy | {"pandas"}),
        (
            ["results.tables.frame", "results.tables.hypervolume_over_time", "results.comparison.runs"],
            heavy | {"scipy"},
        ),
        ([*quick, "run_search"], heavy),
    )
    lines = [f"import sys, {', '.join(names)}\nprint({unwanted} & set(sys.modules))" for names, unwanted in groups]
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("set()\n" * len(groups), "")
