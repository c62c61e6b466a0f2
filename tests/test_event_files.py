"""Test the files of a search for TensorBoard: scalars of the run and of each trial, and the tables of HParams."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from played_run import begin, play, settings
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from nas.config.sections import AlgorithmConfig, EarlyStopping, TrackingConfig
from nas.loop.search import Search
from nas.monitor.event_file import METRICS
from nas.monitor.progress import Progress
from nas.monitor.trackers import TENSORBOARD, tracked
from nas.monitor.trial_parameters import parameters
from nas.record.events import Note
from nas.record.ledger import read
from nas.record.ledger_writer import LedgerWriter
from search_space.cost.counting import COST_NAMES

CHOSEN: dict[str, Any] = {
    "trials": 8,
    "algorithm": AlgorithmConfig("random"),
    "early_stopping": EarlyStopping(rungs=(0.5,), bands=2, minimum=2),
    "tracking": TrackingConfig(tensorboard=True),
}

pytestmark = pytest.mark.usefixtures("clip_cache")


@pytest.fixture(scope="module")
def search(clip_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    """Yield a search in two parts, like two processes, of which the first was killed in a trial."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with begin(folder, settings(**CHOSEN)) as writer:
        first = Search(settings(**CHOSEN), writer)
        with tracked(first):
            play(first, trials=3)
            first.propose()
    first_file = next((folder / TENSORBOARD / "trial_00003").iterdir())
    with first_file.open("ab") as file:
        file.write(b"\x20\0\0\0half a record")
    first_file.rename(first_file.with_name("events.out.tfevents.1.1"))
    ledger = read(folder / "ledger.jsonl")
    with LedgerWriter.open_for_append(folder / "ledger.jsonl") as writer:
        second = Search(settings(**CHOSEN), writer, ledger.events)
        with tracked(second):
            play(second, failing=5)
        assert second.finished and second.watchers == []
        yield second


@pytest.fixture(scope="module")
def folder(search: Search) -> Path:
    return search.ledger.path.parent / TENSORBOARD


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_each_trial_has_its_metrics_over_its_steps(search: Search, folder: Path) -> None:
    assert len(list(folder.glob("trial_*"))) == len(search.proposals)
    for index in search.proposals:
        found = scalars(folder / f"trial_{index:05}")
        ended = search.completed.get(index) or search.stopped.get(index)
        rungs = [(rung.steps, rung.metrics["accuracy"]) for rung in search.rungs.get(index, [])]
        if ended is None:
            assert index == 5 and not found
            continue
        last = (ended.steps, ended.metrics["accuracy"])
        expected = [*rungs, last]
        assert [step for step, _ in found["accuracy"]] == [step for step, _ in expected]
        assert [value for _, value in found["accuracy"]] == pytest.approx([value for _, value in expected])
        assert found["steps"] == [(ended.steps, ended.steps)] and found["seconds"] == [(ended.steps, ended.seconds)]


def test_the_run_has_its_hypervolume_over_trials(search: Search, folder: Path) -> None:
    found = scalars(folder)
    done = len(search.completed) + len(search.stopped) + len(search.failed)
    assert [step for step, _ in found["hypervolume"]] == list(range(1, done + 1))
    assert found["hypervolume"][-1][1] == pytest.approx(Progress(search).front.volume)
    assert (found["failed"][-1][1], found["stopped"][-1][1]) == (1, len(search.stopped))


def session_groups(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the experiment and the sessions by name, as read by the backend of the plugin."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    request, context = RequestContext(), backend_context.Context(TBContext(data_provider=provider))
    experiment = get_experiment.Handler(request, context, "", api_pb2.GetExperimentRequest()).run()
    wanted = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=1000, allowed_statuses=list(api_pb2.Status.values())
    )
    found = list_session_groups.Handler(request, context, "", wanted).run()
    return experiment, {group.sessions[0].name: group for group in found.session_groups}


def test_the_hparams_plugin_lists_every_trial(search: Search, folder: Path) -> None:
    experiment, groups = session_groups(folder)
    space = search.algorithm.space
    names = {info.name for info in experiment.hparam_infos}
    assert names == {"kind", "label", "repeat", *COST_NAMES, *(c.name for c in space.choices)}
    assert [info.name.tag for info in experiment.metric_infos] == list(METRICS)
    assert len(groups) == len(search.proposals)
    for index, proposal in search.proposals.items():
        group = groups[f"trial_{index:05}"]
        given = parameters(space, proposal)
        for name, value in given.items():
            message = group.hparams[name]
            assert getattr(message, message.WhichOneof("kind")) == value, name
        failed = index in search.failed
        status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        assert group.sessions[0].status == status
        if index in search.completed:
            (accuracy,) = (each.value for each in group.metric_values if each.name.tag == "accuracy")
            assert accuracy == pytest.approx(search.completed[index].metrics["accuracy"])


def test_a_disk_that_fails_ends_the_files_and_not_the_search(tmp_path: Path) -> None:
    with begin(tmp_path / "run", settings(**CHOSEN)) as writer:
        (tmp_path / "run" / TENSORBOARD).write_text("in the way")
        search = Search(settings(**CHOSEN), writer)
        with tracked(search):
            play(search)
    assert search.finished
    records = [entry.record for entry in read(tmp_path / "run" / "ledger.jsonl").entries]
    notes = [record.text for record in records if isinstance(record, Note)]
    assert len(notes) == 1 and notes[0].startswith("writing for TensorBoard stopped: ")


def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path) -> None:
    chosen = dataclasses.replace(settings(**CHOSEN), tracking=TrackingConfig())
    with begin(tmp_path / "run", chosen) as writer, tracked(Search(chosen, writer)):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["ledger.jsonl"]
