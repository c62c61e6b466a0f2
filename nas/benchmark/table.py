"""A tabular benchmark: architectures with exact costs and measurements of several trainings.

As with NAS-Bench-101 (Ying et al., arXiv 1902.09635), a search on a table takes seconds, so algorithms can be compared
over many seeds. docs/reference/benchmark_tables.md describes the CSV format.
`R` is the number of rows (architectures), `S` of seeds (trainings of each), `L` of seeds of long trainings, `G` of
choices.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.benchmark import table_cells
from nas.benchmark.row_space import RowIndex, RowSpace
from nas.benchmark.table_cells import MACS, Option, line
from nas.record.events import Completed, Proposal, Rung
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY, STATISTICS
from search_space.base.errors import InputError
from search_space.cost.counting import COST_NAMES
from search_space.space import movinet
from search_space.space.choices import Choice, Genotype, SearchSpace
from search_space.space.movinet import movinet_space

_SHARE = "must be from 0 to 1"


@dataclass(frozen=True, eq=False)
class Table:
    """A benchmark. `make` builds one and checks it.

    Attributes:
      name: of the table.
      space: consists of exactly the rows, with their costs; an architecture is a mapping of values.
      genotypes: int [R, G], canonical, distinct.
      costs: int64 [R] by name, "macs" always.
      statistics: float [R, S] by name, NaN where missing: `accuracy` at the full budget always (from 0 to 1; every row
        has one), further ones such as `loss`, and early measurements such as `accuracy@64`, after 64 steps. Column s is
        the same training in all of them. A loss always comes with its likelihood, exp(-loss).
      steps: training steps of the full budget; 0 if unknown.
      seconds: float [R, S] of training; NaN where unknown.
      scores: further predictors by name, float [R].
      long_accuracy: float [R, L] after `long_steps` training steps (0 if unknown), from trainings other than those
        above; NaN where missing.
      architectures: of each row as plain data; fingerprints: of each row; empty if the table has none.
    """

    name: str
    space: SearchSpace[Any]
    genotypes: np.ndarray
    costs: Mapping[str, np.ndarray]
    statistics: Mapping[str, np.ndarray]
    steps: int
    seconds: np.ndarray
    scores: Mapping[str, np.ndarray]
    long_accuracy: np.ndarray
    long_steps: int = 0
    architectures: Sequence[Mapping[str, Any]] = ()
    fingerprints: Sequence[str] = ()
    index: RowIndex = field(kw_only=True)

    @property
    def accuracy(self) -> np.ndarray:
        """Accuracy at the full budget: float [R, S]."""
        return self.statistics[ACCURACY.name]

    def early(self, statistic: str = ACCURACY.name) -> dict[int, np.ndarray]:
        """Early measurements of a statistic: training steps -> float [R, S], in rising order."""
        found = {name: values for name, values in self.statistics.items() if name.startswith(f"{statistic}@")}
        return {steps_of(name): found[name] for name in sorted(found, key=steps_of)}

    @property
    def usual_statistic(self) -> str:
        """The statistic that a search uses by default, if the table has it."""
        return next(name for name in STATISTICS if name in self.statistics)

    @functools.cached_property
    def means(self) -> np.ndarray:
        """Accuracy as the mean over the trainings of each row: float [R]."""
        return np.nanmean(self.accuracy, axis=1)

    def row(self, genotype: Genotype) -> int:
        """Return the row of a canonical genotype; `InputError` if there is none."""
        return int(_rows(self.index, self.name, np.array([genotype]))[0])


def steps_of(statistic: str) -> int:
    """Return the steps after which a statistic is measured, 64 for `loss@64`; 0 for the full budget."""
    return int(statistic.partition("@")[2] or 0)


def is_loss(statistic: str) -> bool:
    """Return whether a statistic is a loss, so that lower is better: `loss`, `test_loss`, `ema_loss@64`."""
    return f"_{statistic.partition('@')[0]}".endswith("_loss")


def with_likelihood(statistics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return statistics with likelihood = exp(-loss) after each loss whose likelihood is missing."""
    found: dict[str, np.ndarray] = {}
    for name, values in statistics.items():
        found[name] = values
        stem, at, steps = name.partition("@")
        likelihood = f"{stem.removesuffix('loss')}likelihood{at}{steps}"
        if is_loss(name) and likelihood not in statistics:
            found[likelihood] = np.exp(-values)
    return found


def _rows(index: RowIndex, name: str, genotypes: np.ndarray) -> np.ndarray:
    rows = index.find(genotypes)
    if (rows < 0).any():
        raise InputError(name, genotypes[rows.argmin()].tolist(), "is not the genotype of a row of the table")
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
    statistics: Mapping[str, np.ndarray],
    **more: Any,
) -> Table:
    """Build a table from its columns: `values` has R values of every choice, None where it is absent.

    The options of a choice are the values that occur: absence first, then numbers in order, then texts in order of
    appearance. If the rows are all combinations of options the space is a plain `SearchSpace`, else a `RowSpace`.

    Args:
      name, costs, statistics: see `Table`; a likelihood may be missing.
      values: of every choice by name.
      more: other fields of `Table`, by name.

    Raises:
      InputError: two equal rows, a cost below 1, accuracies or likelihoods outside of 0 to 1, or a row without an
        accuracy.
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
    unknown = np.full(statistics[ACCURACY.name].shape, np.nan)
    others: dict[str, Any] = {"steps": 0, "seconds": unknown, "scores": {}, "long_accuracy": unknown[:, :0], **more}
    table = Table(name, space, genotypes, costs, with_likelihood(statistics), index=index, **others)
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
    for name, values in {**table.statistics, table_cells.LONG: table.long_accuracy}.items():
        if name.partition("@")[0] in (*STATISTICS, table_cells.LONG):
            _check_column(table.name, name, values, np.isnan(values) | ((values >= 0) & (values <= 1)), _SHARE)
    measured = ~np.isnan(table.accuracy).all(axis=1)
    _check_column(
        table.name, "accuracy", table.accuracy[:, 0], measured, "in all its seeds; every row must have a value"
    )
    for name in table.statistics:
        if table.steps and steps_of(name) >= table.steps:
            place = f"{table.name}: {name.replace('@', '.S@')}"
            raise InputError(place, steps_of(name), f"must be below the full budget, {table.steps}")


def _check_column(name: str, column: str, values: np.ndarray, right: np.ndarray, rule: str) -> None:
    for row, *seed in np.argwhere(~right)[:1].tolist():
        label, at, steps = column.partition("@")
        place = f"{name}: {line(row)}: {'.'.join([label, *map(str, seed)])}{at}{steps}"
        raise InputError(place, values[row, *seed].item(), rule)


def read(path: str | Path) -> Table:
    """Read a table from a `.csv` or `.csv.gz` file, in the format of docs/reference/benchmark_tables.md.

    Raises:
      InputError: no such file, another format, or see `make`; names file, line, column, value and constraint.
    """
    path = Path(path)
    columns = table_cells.read(path)
    seeds = range(table_cells.seeds_of([*columns]))
    return make(
        str(path),
        {name[7:]: [*map(table_cells.option, columns[name])] for name in columns if name.startswith("choice.")},
        {name: table_cells.integers(path, name, columns[name]) for name in COST_NAMES if name in columns},
        table_cells.statistics(path, columns),
        steps=table_cells.constant(path, "steps", columns),
        seconds=table_cells.per_seed(path, table_cells.SECONDS, seeds, columns),
        scores={name[6:]: table_cells.numbers(path, name, columns) for name in columns if name.startswith("score.")},
        long_accuracy=table_cells.long_accuracy(path, columns),
        long_steps=table_cells.constant(path, "long_steps", columns),
        architectures=table_cells.objects(path, "architecture", columns),
        fingerprints=columns.get("fingerprint", ()),
    )


def write(table: Table, path: str | Path) -> None:
    """Write a `.csv` or `.csv.gz` file, completely or not at all; `read` returns the same table.

    Raises:
      InputError: another suffix, or the file cannot be written.
    """
    table_cells.write(Path(path), _columns(table))


def _columns(table: Table) -> dict[str, Sequence[str]]:
    def cells(values: np.ndarray) -> list[str]:
        return [*map(table_cells.text, values.tolist())]

    columns: dict[str, Sequence[str]] = {}
    for choice, genes in zip(table.space.choices, table.genotypes.T, strict=True):
        columns[f"choice.{choice.name}"] = [table_cells.text(choice.options[gene]) for gene in genes]
    columns |= {name: cells(values) for name, values in table.costs.items()}
    names = [*dict.fromkeys(name.partition("@")[0] for name in table.statistics)]
    for seed in range(table.accuracy.shape[1]):
        for name in names:
            early = table.early(name).items()
            columns |= {f"{name}.{seed}@{steps}": cells(values[:, seed]) for steps, values in early}
            if name in table.statistics:
                columns[f"{name}.{seed}"] = cells(table.statistics[name][:, seed])
        if not np.isnan(table.seconds).all():
            columns[f"seconds.{seed}"] = cells(table.seconds[:, seed])
    columns |= {f"{table_cells.LONG}.{seed}": cells(values) for seed, values in enumerate(table.long_accuracy.T)}
    columns |= {f"score.{name}": cells(values) for name, values in table.scores.items()}
    budgets = {"steps": table.steps, "long_steps": table.long_steps}
    columns |= {name: [str(steps)] * len(table.genotypes) for name, steps in budgets.items() if steps}
    architectures = [json.dumps(each, separators=(",", ":")) for each in table.architectures]
    texts = {"architecture": architectures, "fingerprint": table.fingerprints}
    return columns | {name: column for name, column in texts.items() if column}


def from_ledger(ledger: Ledger) -> Table:
    """Build a table of a run's search trials: a row for each architecture, with repeats as seeds.

    Every metric is a statistic of the table. Only trainings to the full budget count; architectures without one are
    left out. A choice with the same value in all rows that have it is also left out: its presence follows from its
    parent. Rows are in order of their genotypes.

    Raises:
      InputError: no search trial was trained to the full budget, or the run is not of MoViNets.
    """
    if ledger.own_task:
        rule = "is the task of the run; a benchmark table is of MoViNets. trials.csv has all trials"
        raise InputError(str(ledger.path), ledger.own_task, rule)
    # Only the space: a whole configuration may name modules, which reading a run must not import.
    space = movinet_space(movinet.from_dict(ledger.header.config.get("space"), f"{ledger.path}:1: config.space"))
    done = {i: p for i, p in ledger.proposals.items() if p.kind == "search" and i in ledger.completed}
    if not done:
        raise InputError(str(ledger.path), 0, "is the number of search trials completed; a table needs one")
    members = dict(sorted({p.genotype: p for p in reversed(done.values()) if p.genotype is not None}.items()))
    columns = _chosen(space, members, str(ledger.path))
    varied = {name: column for name, column in columns.items() if len({*column} - {None}) > 1}
    full = [ledger.completed[index] for index in done]
    return make(
        ledger.path.parent.name,
        varied or dict([*columns.items()][:1]),
        {cost: np.array([p.cost[cost] for p in members.values()]) for cost in COST_NAMES},
        _measured(members, done, _metrics([*full, *(rung for rung in ledger.rungs if rung.index in done)])),
        steps=max(each.steps for each in full),
        seconds=_measured(members, done, [("seconds", each.index, each.seconds) for each in full])["seconds"],
        architectures=[p.architecture for p in members.values()],
        fingerprints=[p.fingerprint for p in members.values()],
    )


def _chosen(space: SearchSpace[Any], members: Collection[Genotype], place: str) -> dict[str, list[Option]]:
    """Return the option of each architecture by choice, None if absent; one choice at a time, as runs are long."""
    for genotype in members:
        if len(genotype) != len(space.choices):
            raise InputError(place, genotype, f"is not a genotype of its space, which has {len(space.choices)} choices")
    genes = space.canonical_batch(np.array([*members]))
    present = space.active(genes)
    columns: dict[str, list[Option]] = {}
    for i, choice in enumerate(space.choices):
        options = [_plain(option) for option in choice.options]
        chosen = zip(genes[:, i].tolist(), present[:, i].tolist(), strict=True)
        columns[choice.name] = [options[gene] if there else None for gene, there in chosen]
    return columns


def _plain(value: Any) -> Option:
    """Return an option as a cell: a kernel as 1x3x3, true and false as 1 and 0."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else int(value) if isinstance(value, bool) else value


def _metrics(events: Iterable[Rung | Completed]) -> Iterator[tuple[str, int, float]]:
    """Yield statistic, trial index and value of each metric whose name is valid for a column."""
    for event in events:
        at = f"@{event.steps}" if isinstance(event, Rung) else ""
        for name, value in event.metrics.items():
            if table_cells.statistic(f"{name}.0") is not None:
                yield f"{name}{at}", event.index, value


def _measured(
    members: Mapping[Genotype, Proposal],
    done: Mapping[int, Proposal],
    measurements: Iterable[tuple[str, int, float]],
) -> dict[str, np.ndarray]:
    """Return measurements (name, trial index, value) by name, row and repeat: float [R, S], NaN if missing."""
    rows = {genotype: row for row, genotype in enumerate(members)}
    seeds = 1 + max(p.repeat for p in done.values())
    found = {ACCURACY.name: np.full((len(rows), seeds), np.nan)}
    for name, index, value in measurements:
        proposal = done[index]
        assert proposal.genotype is not None  # a search trial has one
        values = found.setdefault(name, np.full((len(rows), seeds), np.nan))
        values[rows[proposal.genotype], proposal.repeat] = value
    return found
