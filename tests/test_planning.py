"""Plans of searches: counts, times and warnings, on real small videos and with timed steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import main
from movinet.data.proxy.sample_videos import write_video
from nas.config.search_config import SearchConfig, from_plain
from nas.evaluation.proxy_trainer import open_data
from nas.planning.plan import planned, text
from nas.planning.speed import Speed
from nas.planning.survey import survey
from search_space.base.errors import InputError

SPACE: dict[str, Any] = {
    "schema": "movinet-nas/space/1", "name": "s", "classes": 2, "frames": 8, "frame_strides": [1, 2],
    "resolutions": [8, 16], "stem_widths": [8], "project": [32], "dense": 32,
    "blocks": [
        {"base_width": 8, "stride": 2, "depths": [1]},
        {"base_width": 8, "stride": 2, "depths": [1], "kernels": [[1, 3, 3], [1, 5, 5]]},
    ],
}  # fmt: skip


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return videos: six of class a (one of 12 frames, the others of 40), three of b, one of c; and a file of text."""
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    for name, count in (("a", 6), ("b", 3), ("c", 1)):
        for number in range(count):
            frames = np.full((12 if (name, number) == ("a", 0) else 40, 32, 32, 3), 20 * number, np.uint8)
            write_video(tmp_path / "v" / name / f"{number}.mp4", frames)
    (tmp_path / "v" / "a" / "text.mp4").write_text("this is no video\n" * 50)
    return tmp_path / "v"


def config(videos: Path, **data: Any) -> SearchConfig:
    # fmt: off
    return from_plain({
        "schema": "movinet-nas/search/1",
        "training": {"steps": 20, "batch_size": 4},
        "data": {"source": "video_folder", "path": str(videos), "frame_stride": 2, **data},
        "trials": 5, "workers": 1, "finals": {"repeats": 2, "most": 2, "references": []},
        "space": SPACE | {"classes": 3},
    })
    # fmt: on


def test_a_survey_counts_the_clips_that_a_search_then_has(videos: Path) -> None:
    chosen = config(videos, clips_per_video=2)
    found, made = survey(chosen), open_data(chosen.data, chosen.space)
    for split, clips in found.clips.items():
        counted = np.bincount(getattr(made, split).labels, minlength=3)
        assert np.abs(counted - clips).max() <= 2, split  # the short and the unusable one, spread over all
        assert found.independent[split] == {"train": 7, "validation": 2, "test": 2}[split]
    assert found.classes == made.classes and found.sampled == 11 and (found.short, found.span) == (1, 15)
    assert [name for name, _ in found.unusable] == ["a/text.mp4"]
    pace = config(videos, source="pace", frame_stride=1)
    with pytest.raises(InputError, match="space.classes: 3 must be 5"):
        survey(pace)


def test_a_plan_adds_up_and_warns(videos: Path) -> None:
    chosen = config(videos)
    made = planned(chosen, survey(chosen), Speed(0.5, (0.1, 0.9), 0.01, 3.0, 200.0), 1)
    assert (made.trials, made.finals, made.workers) == (5, 4, 1)
    validation, test = (sum(made.clips[split].values()) for split in ("validation", "test"))
    assert made.seconds["search"] == pytest.approx(5 * (20 * 0.5 + validation * 0.01 * 3))  # plus two rungs
    assert made.seconds["re-evaluation"] == pytest.approx(4 * (20 * 0.5 + (validation + test) * 0.01))
    assert made.epochs == 20 * 4 / sum(made.clips["train"].values())
    assert made.cache_bytes == sum(sum(each.values()) for each in made.clips.values()) * 8 * 16 * 16 * 3
    assert made.smallest_difference == pytest.approx(1.96 * (2 * 0.25 / 2) ** 0.5)
    wanted = (
        "1x5x5",
        "1 of 11 videos looked at are shorter than a clip, which spans 15 frames",
        "1 of 11 videos looked at cannot be used: a/text.mp4 cannot be decoded",
        "c: no validation clips",
        "c: no test clips",
        "no ranking to be expected: 2 validation videos show differences of 0.98",
    )
    assert len(made.warnings) == len(wanted)
    for words, line in zip(wanted, made.warnings, strict=True):
        assert words in line and f"warning: {line}" in text(made)


def test_the_command_times_real_steps_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert main(["search", "tiny", "--plan", "--json", "--workers", "1", "--trials", "9"]) == 0
    found = json.loads(capsys.readouterr().out)
    low, high = found["step_seconds"]
    assert 0 < low < high < 5 and found["trials"] == 9 and found["finals"] == 4
    assert set(found["clips"]["train"].values()) == {30} and found["chance"] == 1 / 12
    assert 50 < found["worker_mb"] < 3000 and found["total_seconds"] == pytest.approx(sum(found["seconds"].values()))
    assert not list(tmp_path.iterdir())
    assert main(["search", "--plan", "--resume", "run"]) == 2
    assert "plan the configuration in its folder" in capsys.readouterr().err
    assert main(["search", "tiny", "--plan", "--simulate"]) == 2
