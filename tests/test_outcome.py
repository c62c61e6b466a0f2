"""Output files of a run, their texts and the closing summary; no file is ever half written."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from played_run import begin, play, played, settings
from synthetic_run import ledger_of, proposal, sampled

from nas.config import search_config
from nas.config.sections import Finals
from nas.loop import run_folder
from nas.loop.search import Search
from nas.record.events import Failed, Rung
from nas.record.ledger import Header, Ledger
from results.family.growth import PUBLISHED_MACS
from results.outcome import family_config, family_of, family_table, with_targets, write_outcome, write_plots
from search_space import network
from search_space.base.errors import InputError

MODELS = [f"a{i}" for i in range(7)]
FILES = {
    *("ledger.jsonl", "trials.csv", "front.csv", "comparison.json", "front.png", "hypervolume.png"),
    *(f"configs/movinet_{model}{suffix}" for model in MODELS for suffix in (".yaml", ".experiment.yaml")),
    *("configs/family.json", "report.html"),
}

pytestmark = pytest.mark.usefixtures("clip_cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run with one failed trial, and its output files; `words` holds the closing summary."""
    folder = played(tmp_path_factory.mktemp("runs") / "whole", failing=4)
    words = write_outcome(run_folder.read(folder), folder)
    folder.with_name("words").write_text(words, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def words(whole: Path) -> str:
    return whole.with_name("words").read_text(encoding="utf-8")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def paragraph(words: str, start: str) -> list[str]:
    """Return the lines of the one paragraph that starts with `start`."""
    (found,) = (part for part in words.split("\n\n") if part.startswith(start))
    return found.splitlines()


def test_a_finished_run_gives_exactly_these_files(whole: Path) -> None:
    assert files(whole).keys() == FILES
    for picture in ("front.png", "hypervolume.png"):
        assert imread(whole / picture).std() > 0.01


def test_the_closing_words_count_the_trials(whole: Path, words: str) -> None:
    ledger = run_folder.read(whole)
    kinds = [ledger.proposals[index].kind for index in ledger.completed]
    said = (
        f"{kinds.count('search')} candidates trained to the full budget, {len(ledger.stopped)} stopped early, 1 failed"
    )
    again = len(kinds) - kinds.count("search")
    searched = "search objective likelihood, reported accuracy"
    assert words.startswith(f"{said}; {again} re-evaluations and trainings of published networks; {searched}\n")


def test_the_closing_words_hold_the_front(whole: Path, words: str) -> None:
    head, *lines = paragraph(words, "front: network")
    assert re.split(r"  +", head) == ["front: network", "multiply-adds per clip", "accuracy", "trainings"]
    front = rows(whole / "front.csv")
    assert len(lines) == len(front) > 0
    for line, row in zip(lines, front, strict=True):
        reach = (float(row["high"]) - float(row["low"])) / 2
        assert re.split(r"  +", line) == [
            f"trial {row['index']}",
            f"{int(row['macs']) / 1e6:.2f} M",
            f"{float(row['accuracy']):.3f} ± {reach:.3f}",
            "2",
        ]


def test_the_closing_words_hold_the_family(whole: Path, words: str) -> None:
    head, *lines = paragraph(words, "model  ")
    assert re.split(r"  +", head) == ["model", "multiply-adds", "target", "parameters", "clip", "layers", "from"]
    assert [line.split()[0] for line in lines] == MODELS
    for line, model in zip(lines, MODELS, strict=True):
        made = network.load(whole / f"configs/movinet_{model}.yaml")
        assert f"  {made.cost['macs'] / 1e9:.2f} G" in line
        assert f"  {made.cost['trainable_parameters'] / 1e6:.2f} M  " in line
        assert f"  {'+'.join(str(member.depth) for member in made.members)} " in line
    assert re.search(r"  trial \d+$", lines[0]) and lines[-1].endswith("  a4+a5")
    assert all(f"{target / 1e9:.2f} G" in line for line, target in zip(lines, PUBLISHED_MACS.values(), strict=False))


def test_the_closing_words_hold_the_comparison(whole: Path, words: str) -> None:
    title, _, *lines = paragraph(words, "accuracy on test clips")
    assert title.endswith("95 % intervals over seeds only (test clips not recorded)")
    compared = json.loads((whole / "comparison.json").read_text())
    for line, name in zip(lines[:3], ("searched", "references", "difference"), strict=True):
        estimate = compared[name]
        assert line.endswith(f" {estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]")
    difference = compared["searched"]["value"] - compared["references"]["value"]
    assert compared["difference"]["value"] == pytest.approx(difference)
    for line, point in zip(lines[5:], compared["points"], strict=True):
        shown = "-" if point["difference"]["value"] is None else f"{100 * point['difference']['value']:+.1f} ["
        assert line.startswith(f"  {point['name'].upper()} ") and shown in line


def test_the_closing_words_say_where_everything_is(whole: Path, words: str) -> None:
    paths = [Path(line.split()[1]) for line in paragraph(words, "front      ")]
    assert paths == [whole / "front.png", whole / "report.html", whole / "configs", whole / "ledger.jsonl"]
    assert all(path.exists() for path in paths)


def test_lines_end_where_their_text_ends(words: str) -> None:
    assert all(line == line.rstrip() and "nan" not in line for line in words.splitlines())


def test_made_again_it_is_the_same_to_the_byte(whole: Path, words: str, tmp_path: Path) -> None:
    before = files(whole)
    assert write_outcome(run_folder.read(whole), whole) == words
    assert files(whole) == before


def plain(folder: Path, finals: Finals) -> Ledger:
    """Return a run with made-up results and these settings of re-evaluation."""
    chosen = settings(finals=finals)
    with begin(folder, chosen) as writer:
        play(Search(chosen, writer))
    return run_folder.read(folder)


def test_networks_trained_once_have_no_interval(tmp_path: Path) -> None:
    ledger = plain(tmp_path / "run", Finals(repeats=1, most=2, references=("a0", "a5")))
    text = write_outcome(ledger, tmp_path / "run")
    assert "no intervals, as no network was trained twice" in text and "nan" not in text and "±" not in text
    compared = json.loads((tmp_path / "run/comparison.json").read_text())
    assert compared["searched"]["value"] > 0 and compared["searched"]["low"] is None
    assert compared["probability"] is None


def test_without_finals_there_is_no_comparison(tmp_path: Path) -> None:
    ledger = plain(tmp_path / "run", Finals(repeats=0))
    text = write_outcome(ledger, tmp_path / "run")
    assert "hypervolume" not in text and "re-evaluations" not in text
    assert files(tmp_path / "run").keys() == FILES - {"comparison.json"}


def test_a_run_under_way_has_tables_and_pictures(tmp_path: Path) -> None:
    folder = played(tmp_path / "run", trials=3)
    paths = write_plots(run_folder.read(folder), folder)
    assert [path.name for path in paths] == ["trials.csv", "front.csv", "front.png", "hypervolume.png"]
    assert files(folder).keys() == {"ledger.jsonl", *(path.name for path in paths)}


def made(folder: Path, *records: object) -> Ledger:
    (architecture,) = sampled(np.random.default_rng(0), 1)
    return ledger_of(folder, [proposal(0, architecture), *records])  # type: ignore[list-item]


@pytest.mark.parametrize("records", [[], [Rung(0, 10, {"accuracy": 0.5}, 1.0)], [Failed(0, "out of memory", 3)]])
def test_nothing_finished_nothing_to_show(records: list[object], tmp_path: Path) -> None:
    ledger = made(tmp_path / "run", *records)
    with pytest.raises(InputError, match="0 trials have finished"):
        write_plots(ledger, tmp_path / "run")
    assert files(tmp_path / "run").keys() == {"ledger.jsonl"}


def test_a_search_that_only_failed_still_has_its_tables(tmp_path: Path) -> None:
    ledger = made(tmp_path / "run", Failed(0, "loss nan after 3 steps", 1))
    with pytest.raises(InputError, match="no trial was trained to the full budget"):
        write_outcome(ledger, tmp_path / "run")
    (row,) = rows(tmp_path / "run/trials.csv")
    assert (row["state"], row["reason"]) == ("failed", "loss nan after 3 steps")


def with_family(ledger: Ledger, family: dict[str, object]) -> Ledger:
    header = dataclasses.replace(ledger.header, config={**ledger.header.config, "family": family})
    return dataclasses.replace(ledger, header=header)


def test_a_target_out_of_reach_costs_no_table_and_no_picture(whole: Path, tmp_path: Path) -> None:
    ledger = with_family(run_folder.read(whole), {"targets": {"a0": 100}})
    with pytest.raises(InputError, match="family.targets.a0: 100"):
        write_outcome(ledger, tmp_path)
    assert files(tmp_path).keys() == {
        *("trials.csv", "front.csv", "comparison.json", "front.png", "hypervolume.png", "report.html")
    }
    for path in write_plots(ledger, tmp_path):
        assert path.stat().st_size > 0


def test_a_wrong_family_is_named_by_its_place_in_the_ledger(whole: Path) -> None:
    ledger = with_family(run_folder.read(whole), {"clases": 3})
    with pytest.raises(InputError, match=r"ledger.jsonl:1: config.family: 'clases' is an unknown key"):
        family_config(ledger)


def test_targets_replace_the_configured_ones_and_keep_what_ensembles_they_can(whole: Path) -> None:
    ledger = run_folder.read(whole)
    assert with_targets(ledger, None) == with_targets(ledger, []) == family_config(ledger)
    alone = with_targets(ledger, ["small=2e7"])
    assert alone.targets == {"small": 2e7} and alone.ensemble == {}
    both = with_targets(ledger, ["a4=2e7", "a5=4e7"])
    assert list(both.ensemble) == ["a6"] and tuple(both.ensemble["a6"]) == ("a4", "a5")
    table = family_table(family_of(ledger, both))
    assert [line.split()[0] for line in table.splitlines()] == ["model", "a4", "a5", "a6"]


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Limit files to `size` bytes: longer writes fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("write", "size"), [(write_plots, 1000), (write_outcome, 20_000)])
def test_a_full_disk_leaves_every_file_old_or_new(
    write: Callable[[Ledger, Path], object], size: int, whole: Path, tmp_path: Path
) -> None:
    ledger, new = run_folder.read(whole), files(whole)
    for name in ("trials.csv", "front.csv", "comparison.json", "front.png", "hypervolume.png"):
        (tmp_path / name).write_bytes(b"old")
    with files_at_most(size), pytest.raises(InputError, match="File too large"):
        write(ledger, tmp_path)
    found = files(tmp_path)
    assert all(content in (b"old", new[name]) for name, content in found.items())
    assert b"old" in found.values() and found.keys() <= new.keys()


EXTENDED = {"extends": "default", "data": {"source": "video_folder", "path": "/v"}, "space": {"classes": 5}}


@pytest.mark.parametrize(
    ("config", "classes", "ticks"),
    [
        (search_config.to_dict(search_config.from_plain(EXTENDED)), 5, 16),
        ({"data": {"source": "video_folder", "frame_stride": 3}, "space": {"classes": 7, "frames": 16}}, 7, 48),
        ({"data": {"source": "video_folder"}, "space": {"classes": 7, "frames": 16}, "family": {"classes": 9}}, 9, 16),
        ({"data": {"source": "moving_digits"}, "space": {"classes": 7, "frames": 16}}, 600, 250),
        ({"data": [1], "space": "x"}, 600, 250),
        ({"data": {"source": "video_folder"}, "space": {"classes": "7"}}, 600, 250),
    ],
)
def test_a_family_of_own_videos_has_their_classes_and_length(
    tmp_path: Path, config: dict[str, object], classes: int, ticks: int
) -> None:
    header = Header(config, {}, 0, "abc", "2030-01-01T00:00:00+00:00")
    made = family_config(Ledger(tmp_path / "ledger.jsonl", header, (), False, 0))
    assert (made.classes, made.clip_ticks) == (classes, ticks)


def test_a_family_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    header = Header({"family": [1]}, {}, 0, "abc", "2030-01-01T00:00:00+00:00")
    with pytest.raises(InputError, match="config.family"):
        family_config(Ledger(tmp_path / "ledger.jsonl", header, (), False, 0))
