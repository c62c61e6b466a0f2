"""Start, resume and read a search."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nas.config import search_config
from nas.config.search_config import SearchConfig
from nas.loop import run_folder
from nas.record.ledger import Ledger
from search_space import architecture as architectures
from search_space.architecture import Architecture
from search_space.base.errors import InputError
from search_space.base.names import check_choice

if TYPE_CHECKING:
    import pandas as pd

    from nas.execution.ray_cluster import Cluster
    from nas.loop.run_folder import Watch
    from nas.loop.search import Search
    from results.family.growth import Family

Executor = Literal["ray", "serial"]


@dataclass(frozen=True, eq=False)
class Run:
    """A search, finished or not, at the time when its event log was read.

    Attributes:
      folder: of the run.
      ledger: the event log.
    """

    folder: Path
    ledger: Ledger

    @property
    def config(self) -> SearchConfig:
        """Configuration that the run was started with; this imports the modules that it names.

        Raises:
          InputError: one of these modules is missing.
        """
        return run_folder.config_of(self.ledger)

    def trials(self) -> pd.DataFrame:
        """Return a table with one row per trial, in the order proposed.

        Columns:

        - index, kind (search, reference or finalist), label, fingerprint, repeat;
        - state (completed, stopped, failed or pending), steps, seconds of training;
        - every exact cost, every metric (from 0 to 1, except the loss);
        - started and finished in seconds since 1970, reason of a failure.

        Metrics of a stopped trial are those of its
        last measurement; a failed or pending trial has none.
        """
        from results.tables import frame

        return frame.trials(self.ledger)

    def front(self, metric: str = "accuracy") -> pd.DataFrame:
        """Return the Pareto front of the configured costs and a metric (higher is better), cheapest first.

        One row per network. Columns:

        - fingerprint, index of its first trial, label, kinds, every exact cost, architecture as plain data;
        - the mean of the metric on validation clips over its n trainings, standard_error, and the 95 % interval low to
          high (missing for n = 1).

        After the re-evaluations the front is that of the re-evaluated
        networks, otherwise that of single trainings of the search, with selection bias.

        Raises:
          InputError: no trial has that metric.
        """
        from results.tables import frame

        check_choice("metric", metric, self.ledger.metric_names)
        return frame.selected_front(self.ledger, metric)

    def family(self) -> Family:
        """Return the family A0, A1, ... scaled from the front to the configured costs.

        Each of its `models` has a `name` and a `network` for `build`.

        Raises:
          InputError: no trial was fully trained, or no network can be scaled to a target.
        """
        from results import outcome

        return outcome.family_of(self.ledger, outcome.family_config(self.ledger))

    def architecture(self, index: int) -> Architecture:
        """Return the architecture of a trial of MoViNets; `front` has those of another task as plain data.

        Raises:
          InputError: the run has no trial of that index, or another task.
        """
        if index not in self.ledger.proposals:
            raise InputError("index", index, f"must be that of a trial; {self.folder} has {len(self.ledger.proposals)}")
        if self.ledger.own_task:
            rule = "is the task of the run, not MoViNets; front() has its architectures as plain data"
            raise InputError(str(self.ledger.path), self.ledger.own_task, rule)
        return architectures.from_dict(self.ledger.proposals[index].architecture)

    def write(self) -> str:
        """Write tables, figures, the family and report.html into the folder; return a summary as text.

        Raises:
          InputError: see `family`; or the folder cannot be written.
        """
        from results.outcome import write_outcome

        return write_outcome(self.ledger, self.folder)


def search(
    config: str | Path | Mapping[str, Any] | SearchConfig,
    folder: str | Path,
    *,
    executor: Executor = "ray",
    progress: bool = False,
) -> Run:
    """Run a search to its end in a new folder.

    Every event is written to disk at once: after an interruption, also of the machine, `resume` continues.

    Args:
      config: name of a preset ("tiny", "quick", "default", "thorough", "pace"), path of a YAML file, or a
        `SearchConfig`. A mapping has the content of a YAML file; with `extends` only the differences from a preset.
      folder: of the run; new or empty.
      executor: "ray" trains several candidates in parallel processes; "serial" trains one at a time in this process,
        and is exactly repeatable.
      progress: whether to show the trials on standard output.

    Raises:
      InputError: the configuration, the clips or the folder is invalid.
      KeyboardInterrupt: the search was interrupted.
    """
    from nas.execution.ray_cluster import ALONE
    from results.family import growth

    settings = _config(config)
    growth.checked(settings.family, settings.space, "search.family")
    folder = Path(folder)
    run_folder.start(settings, folder, executor, _watch(progress), ALONE)
    settle(folder, executor, _watch(progress), ALONE)
    return load_run(folder)


def resume(folder: str | Path, *, executor: Executor = "ray", progress: bool = False) -> Run:
    """Continue an interrupted search; finished trials are kept, and a finished search is only read.

    Args:
      folder: of the run.
      executor: see `search`.
      progress: see `search`.

    Raises:
      InputError: the folder has no run, another process uses it, or its clips have changed.
      KeyboardInterrupt: the search was interrupted.
    """
    from nas.execution.ray_cluster import ALONE

    folder = Path(folder)
    run_folder.resume(folder, executor, _watch(progress), ALONE)
    settle(folder, executor, _watch(progress), ALONE)
    return load_run(folder)


def load_run(folder: str | Path) -> Run:
    """Read a run, finished or not; a later call includes trials that ended meanwhile.

    Raises:
      InputError: the folder has no run, or its event log is damaged.
    """
    folder = Path(folder)
    return Run(folder, run_folder.read(folder))


def settle(folder: Path, executor: str, watch: Watch, cluster: Cluster) -> None:
    """Train scaled variants of the best parents of a finished run, if its family requires them."""
    from nas.studies import parent_variants as trainings
    from results import outcome
    from results.family import parent_variants, parents

    ledger = run_folder.read(folder)
    if ledger.own_task:
        return  # it has no family
    config, found = outcome.family_config(ledger), parents.of_run(ledger)
    if config.settle is None or found is None:
        return
    variants = [
        trainings.Variant(name, candidate.architecture, macs)
        for name, candidate, macs in parent_variants.contested(found, config.targets, config.settle)
    ]
    if variants:
        plan = trainings.plan(ledger, variants, config.settle.repeats, config.coefficients)
        trainings.settle(plan, folder / parent_variants.FOLDER, executor, watch, cluster)


def _config(config: str | Path | Mapping[str, Any] | SearchConfig) -> SearchConfig:
    if isinstance(config, SearchConfig):
        return config
    if isinstance(config, Mapping):
        return search_config.from_plain(config, "search")
    return search_config.load(str(config))


def _watch(progress: bool) -> Watch:
    from nas.monitor.display import Display

    def watch(running: Search) -> contextlib.AbstractContextManager[object]:
        return Display(running, sys.stdout or io.StringIO(), not progress)

    return watch
