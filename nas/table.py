"""A tabular benchmark: architectures with exact costs and with what several trainings of each measured.

NAS-Bench-101 (Ying et al., arXiv 1902.09635) showed what such a table is for: a search on it takes seconds, so
algorithms can be compared over many seeds. docs/benchmark_tables.md describes the CSV form.
`R` is the number of rows (architectures), `S` of seeds (trainings of each), `G` of choices.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas import run, table_cells
from nas.ledger import Ledger
from nas.objective import ACCURACY
from nas.row_space import RowIndex, RowSpace
from nas.table_cells import MACS, Option, line
from nas.trials import Completed, Proposal, Rung
from search_space.cost import COST_NAMES
from search_space.errors import InputError
from search_space.movinet_space import movinet_space
from search_space.space import Choice, Genotype, SearchSpace

_SHARE = "must be a share from 0 to 1"


@dataclass(frozen=True, eq=False)
class Table:
    """A benchmark. `make` builds one and checks it.

    Attributes:
      name: of the table.
      space: its members are exactly the rows, its costs those of the rows; an architecture is a mapping of values.
      genotypes: int [R, G], canonical, distinct.
      costs: int64 [R] by name, "macs" always.
      accuracy: float [R, S] at the full budget, a share; NaN where that training is missing, not all of a row.
      curve: training steps -> float [R, S], accuracy measured early; NaN where missing.
      steps: training steps of the full budget; 0 if unknown.
      seconds: float [R, S] of training; NaN where unknown.
      scores: further predictors by name, float [R].
      architectures: of each row as plain data, fingerprints: of each row; empty where the table has none.
    """

    name: str
    space: SearchSpace[Any]
    genotypes: np.ndarray
    costs: Mapping[str, np.ndarray]
    accuracy: np.ndarray
    curve: Mapping[int, np.ndarray]
    steps: int
    seconds: np.ndarray
    scores: Mapping[str, np.ndarray]
    architectures: Sequence[Mapping[str, Any]] = ()
    fingerprints: Sequence[str] = ()
    index: RowIndex = field(kw_only=True)

    @functools.cached_property
    def means(self) -> np.ndarray:
        """Accuracy as the mean over the trainings of each row: float [R]."""
        return np.nanmean(self.accuracy, axis=1)

    def row(self, genotype: Genotype) -> int:
        """The row of a canonical genotype; `InputError` if there is none."""
        return int(_rows(self.index, self.name, np.array([genotype]))[0])


def _rows(index: RowIndex, name: str, genotypes: np.ndarray) -> np.ndarray:
    rows = index.find(genotypes)
    if (rows < 0).any():
        raise InputError(name, genotypes[rows.argmin()].tolist(), "is the genotype of no row of the table")
    return rows


def _look_up(
    index: RowIndex, name: str, costs: Mapping[str, np.ndarray], genotypes: np.ndarray
) -> dict[str, np.ndarray]:
    rows = _rows(index, name, genotypes)
    return {cost: values[rows] for cost, values in costs.items()}


def make(
    name: str,
    values: Mapping[str, Sequence[Option]],
    costs: Mapping[str, np.ndarray],
    accuracy: np.ndarray,
    **more: Any,
) -> Table:
    """A table from its columns: `values` has R values of every choice, None where it is absent.

    The options of a choice are the values that occur: absence first, then numbers in their order, then texts as they
    first appear. Where the rows are all combinations of options the space is a plain `SearchSpace`, else a `RowSpace`.

    Args:
      name, costs, accuracy: as in `Table`.
      values: of every choice by name.
      more: other fields of `Table`, by name.

    Raises:
      InputError: two rows alike, a cost below 1, accuracies that are no shares, or a row without any.
    """
    choices = tuple(Choice(choice, _options(column)) for choice, column in values.items())
    genotypes = np.array([_genes(choice, values[choice.name]) for choice in choices], dtype=np.int64).T
    _check_distinct(name, genotypes)
    index = RowIndex(genotypes)
    count = functools.partial(_look_up, index, name, costs)
    if len(genotypes) == math.prod(len(choice.options) for choice in choices):
        space: SearchSpace[Any] = SearchSpace(name, choices, dict, dict, count)
    else:
        logs = np.log(costs[MACS])
        space = RowSpace(name, choices, dict, dict, count, rows=genotypes, log_costs=logs)
    unknown = np.full(accuracy.shape, np.nan)
    others: dict[str, Any] = {"curve": {}, "steps": 0, "seconds": unknown, "scores": {}, "index": index, **more}
    table = Table(name, space, genotypes, costs, accuracy, **others)
    _check(table)
    return table


def _options(column: Iterable[Option]) -> tuple[Option, ...]:
    distinct = dict.fromkeys(column)
    numbers = sorted(value for value in distinct if isinstance(value, int | float))
    return (*([None] if None in distinct else []), *numbers, *(value for value in distinct if isinstance(value, str)))


def _genes(choice: Choice, column: Iterable[Option]) -> list[int]:
    places = {option: i for i, option in enumerate(choice.options)}
    return [places[value] for value in column]


def _check_distinct(name: str, genotypes: np.ndarray) -> None:
    _, first, which = np.unique(genotypes, axis=0, return_index=True, return_inverse=True)
    earliest = first[which.reshape(-1)]
    for row in np.flatnonzero(earliest != np.arange(len(genotypes)))[:1]:
        rule = f"is the same architecture as {line(earliest[row])}; all trainings of one must be in one row"
        raise InputError(name, line(row), rule)


def _check(table: Table) -> None:
    for cost, column in table.costs.items():
        _check_column(table.name, cost, column, column >= 1, "must be at least 1")
    shares = {f"@{steps}": early for steps, early in table.curve.items()} | {"": table.accuracy}
    for at, column in shares.items():
        _check_column(table.name, f"accuracy{at}", column, np.isnan(column) | ((column >= 0) & (column <= 1)), _SHARE)
    measured = ~np.isnan(table.accuracy).all(axis=1)
    _check_column(table.name, "accuracy", table.accuracy[:, 0], measured, "in all its seeds: every row must have one")
    late = [steps for steps in table.curve if table.steps and steps >= table.steps]
    if late:
        raise InputError(
            f"{table.name}: accuracy.S@{late[0]}", late[0], f"must be below the full budget, {table.steps}"
        )


def _check_column(name: str, column: str, values: np.ndarray, right: np.ndarray, rule: str) -> None:
    for row, *seed in np.argwhere(~right)[:1].tolist():
        label, at, steps = column.partition("@")
        place = f"{name}: {line(row)}: {'.'.join([label, *map(str, seed)])}{at}{steps}"
        raise InputError(place, values[row, *seed].item(), rule)


def read(path: str | Path) -> Table:
    """The table in a `.csv` or `.csv.gz` file, in the form of docs/benchmark_tables.md.

    Raises:
      InputError: no such file, not in that form, or as `make`; names file, line, column, value and rule.
    """
    path = Path(path)
    columns = table_cells.read(path)
    measured = [match for match in map(table_cells.ACCURACY.fullmatch, columns) if match]
    seeds = range(table_cells.seeds_of([*columns]))

    def each_seed(start: str, end: str = "") -> np.ndarray:
        return np.stack([table_cells.numbers(path, f"{start}{seed}{end}", columns) for seed in seeds], axis=1)

    return make(
        str(path),
        {name[7:]: [*map(table_cells.option, columns[name])] for name in columns if name.startswith("choice.")},
        {name: table_cells.integers(path, name, columns[name]) for name in COST_NAMES if name in columns},
        each_seed("accuracy."),
        curve={steps: each_seed("accuracy.", f"@{steps}") for steps in sorted({int(m[2]) for m in measured if m[2]})},
        steps=table_cells.constant(path, "steps", columns),
        seconds=each_seed("seconds."),
        scores={name[6:]: table_cells.numbers(path, name, columns) for name in columns if name.startswith("score.")},
        architectures=table_cells.objects(path, "architecture", columns),
        fingerprints=columns.get("fingerprint", ()),
    )


def write(table: Table, path: str | Path) -> None:
    """Writes a `.csv` or `.csv.gz` file, whole or not at all; `read` gives the same table again.

    Raises:
      InputError: another ending, or it cannot be written.
    """
    table_cells.write(Path(path), _columns(table))


def _columns(table: Table) -> dict[str, Sequence[str]]:
    def cells(values: np.ndarray) -> list[str]:
        return [*map(table_cells.text, values.tolist())]

    columns: dict[str, Sequence[str]] = {}
    for choice, genes in zip(table.space.choices, table.genotypes.T, strict=True):
        columns[f"choice.{choice.name}"] = [table_cells.text(choice.options[gene]) for gene in genes]
    columns |= {name: cells(values) for name, values in table.costs.items()}
    for seed in range(table.accuracy.shape[1]):
        columns |= {f"accuracy.{seed}@{steps}": cells(values[:, seed]) for steps, values in table.curve.items()}
        columns[f"accuracy.{seed}"] = cells(table.accuracy[:, seed])
        if not np.isnan(table.seconds).all():
            columns[f"seconds.{seed}"] = cells(table.seconds[:, seed])
    columns |= {f"score.{name}": cells(values) for name, values in table.scores.items()}
    columns |= {"steps": [str(table.steps)] * len(table.genotypes)} if table.steps else {}
    architectures = [json.dumps(each, separators=(",", ":")) for each in table.architectures]
    texts = {"architecture": architectures, "fingerprint": table.fingerprints}
    return columns | {name: column for name, column in texts.items() if column}


def from_ledger(ledger: Ledger) -> Table:
    """What a run's search trials measured: a row for each architecture, the seed's column being the repeat.

    Only trainings to the full budget count; an architecture without one is left out, and so is a choice of the run's
    space in which the rows that have it do not differ: whether they have it follows from the choice that it depends on.
    Rows are in order of their genotypes.

    Raises:
      InputError: no search trial was trained to the full budget.
    """
    config = run.config_of(ledger)
    space = movinet_space(config.space)
    done = {i: p for i, p in ledger.proposals.items() if p.kind == "search" and i in ledger.completed}
    if not done:
        raise InputError(str(ledger.path), 0, "is the number of search trials completed; a table needs one")
    members = dict(sorted({p.genotype: p for p in reversed(done.values()) if p.genotype is not None}.items()))
    columns = _chosen(space, members, str(ledger.path))
    varied = {name: column for name, column in columns.items() if len({*column} - {None}) > 1}
    seen = [rung for rung in ledger.rungs if rung.index in done]
    full = [ledger.completed[index] for index in done]
    return make(
        ledger.path.parent.name,
        varied or dict([*columns.items()][:1]),
        {cost: np.array([p.cost[cost] for p in members.values()]) for cost in COST_NAMES},
        _measured(members, done, full),
        curve={steps: _measured(members, done, [r for r in seen if r.steps == steps]) for steps in _steps(seen)},
        steps=config.training.steps,
        seconds=_measured(members, done, full, seconds=True),
        architectures=[p.architecture for p in members.values()],
        fingerprints=[p.fingerprint for p in members.values()],
    )


def _chosen(space: SearchSpace[Any], members: Collection[Genotype], place: str) -> dict[str, list[Option]]:
    """The option of each member by choice, None where it has not the choice; a choice at a time, as runs are long."""
    for genotype in members:
        if len(genotype) != len(space.choices):
            raise InputError(place, genotype, f"is no genotype of its space, which has {len(space.choices)} choices")
    genes = space.canonical_batch(np.array([*members]))
    present = space.active(genes)
    columns: dict[str, list[Option]] = {}
    for i, choice in enumerate(space.choices):
        options = [_plain(option) for option in choice.options]
        chosen = zip(genes[:, i].tolist(), present[:, i].tolist(), strict=True)
        columns[choice.name] = [options[gene] if there else None for gene, there in chosen]
    return columns


def _plain(value: Any) -> Option:
    """An option as a cell: a kernel as 1x3x3, true and false as 1 and 0."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else int(value) if isinstance(value, bool) else value


def _steps(rungs: Sequence[Rung]) -> list[int]:
    return sorted({rung.steps for rung in rungs})


def _measured(
    members: Mapping[Genotype, Proposal],
    done: Mapping[int, Proposal],
    events: Sequence[Rung | Completed],
    seconds: bool = False,
) -> np.ndarray:
    """Accuracy (or seconds of training) of events by row and repeat: float [R, S], NaN where there is none."""
    rows = {genotype: row for row, genotype in enumerate(members)}
    found = np.full((len(rows), 1 + max(p.repeat for p in done.values())), np.nan)
    for event in events:
        genotype = done[event.index].genotype
        assert genotype is not None  # a search trial has one
        value = event.seconds if seconds else event.metrics[ACCURACY.name]
        found[rows[genotype], done[event.index].repeat] = value
    return found
