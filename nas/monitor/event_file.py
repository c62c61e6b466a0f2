"""TensorBoard event files of a search, without TensorFlow: scalars, and trials for the HParams plugin.

The folder itself has the run's hypervolume and counts over trials, and `trial_<index>` the measurements of a trial over
its steps. Every process adds new files, so that an incomplete file of a killed process hides no data.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event as BoardEvent
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from nas.loop.search import Search
from nas.monitor.progress import Progress
from nas.monitor.trial_parameters import cost_names, name_of, parameters
from nas.record.events import Completed, Event, Failed, Note, Proposal, Rung, Stopped
from search_space.space.choices import Choice

VERSION = "brain.Event:2"  # the first thing in a file
METRICS = ("accuracy", "loss", "test_accuracy", "steps", "seconds")
SUCCESS, FAILURE = api_pb2.Status.Value("STATUS_SUCCESS"), api_pb2.Status.Value("STATUS_FAILURE")


class TensorBoard:
    """A watcher of a search. If a file cannot be written, it reports this once and stops writing.

    Args:
      search: to be watched.
      folder: where to write.
    """

    def __init__(self, search: Search, folder: Path) -> None:
        self.search, self.folder = search, folder
        self.file = f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
        self.progress = Progress(search)
        self.begun = self.failed = False

    def __call__(self, event: Event | Note) -> None:
        if isinstance(event, Note):
            return
        if not self.begun:  # not earlier, so that a run that cannot start leaves no files
            self.begun = True
            self._attempt("", Summary(value=[_experiment(self.search)]), 0)
        step = 0 if isinstance(event, Proposal | Failed) else event.steps
        self._attempt(name_of(self.search.proposals[event.index]), Summary(value=self._values(event)), step)
        if isinstance(event, Completed | Stopped | Failed):
            self._count(event)

    def _values(self, event: Event) -> list[Any]:
        if isinstance(event, Proposal):
            return [_start(parameters(self.search.algorithm.space, event))]
        if isinstance(event, Failed):
            return [_end(FAILURE)]
        if isinstance(event, Rung):
            return _scalars(event.metrics)
        return [*_scalars({**event.metrics, "steps": event.steps, "seconds": event.seconds}), _end(SUCCESS)]

    def _count(self, event: Completed | Stopped | Failed) -> None:
        self.progress.take(event)
        now = self.progress.snapshot()
        counts = {"hypervolume": now.hypervolume, "stopped": now.stopped, "failed": now.failed}
        self._attempt("", Summary(value=_scalars(counts)), now.done)

    def _attempt(self, folder: str, summary: Summary, step: int) -> None:
        if self.failed:
            return
        try:
            self._write(self.folder / folder / self.file, summary, step)
        except OSError as error:
            self.failed = True
            self.search.note(f"writing for TensorBoard stopped: {error.strerror}")

    def _write(self, path: Path, summary: Summary, step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("ab") as file:
            writer = RecordWriter(file)
            if new:
                writer.write(BoardEvent(wall_time=time.time(), file_version=VERSION).SerializeToString())
            writer.write(BoardEvent(wall_time=time.time(), step=step, summary=summary).SerializeToString())


def _scalars(values: Mapping[str, float]) -> list[Any]:
    return [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]


def _experiment(search: Search) -> Summary.Value:
    """Return the parameters and metrics of the trials of a search."""
    known: list[Any] = [_text("kind"), _text("label"), *map(_number, ("repeat", *cost_names(search.algorithm.space)))]
    experiment = api_pb2.Experiment(
        name=search.ledger.path.parent.name,
        time_created_secs=time.time(),
        hparam_infos=[*known, *map(_choice, search.algorithm.space.choices)],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in METRICS],
    )
    return _plugin(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))


def _text(name: str) -> Any:
    return api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_STRING)


def _number(name: str) -> Any:
    return api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_FLOAT64)


def _choice(choice: Choice) -> Any:
    """Return a choice by the type of its options; types unknown to the plugin become text."""
    if all(isinstance(option, bool) for option in choice.options):
        return api_pb2.HParamInfo(name=choice.name, type=api_pb2.DATA_TYPE_BOOL)
    numbers = all(isinstance(option, int | float) for option in choice.options)
    return _number(choice.name) if numbers else _text(choice.name)


def _start(given: Mapping[str, bool | float | str]) -> Summary.Value:
    data = HParamsPluginData()
    data.session_start_info.start_time_secs = time.time()
    for name, value in given.items():
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        setattr(data.session_start_info.hparams[name], kind, value)
    return _plugin(metadata.SESSION_START_INFO_TAG, data)


def _end(status: int) -> Summary.Value:
    data = HParamsPluginData()
    data.session_end_info.status, data.session_end_info.end_time_secs = status, time.time()
    return _plugin(metadata.SESSION_END_INFO_TAG, data)


def _plugin(tag: str, data: Any) -> Summary.Value:
    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
