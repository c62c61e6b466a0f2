"""Test kinds of input with past errors: layouts, labels, mirrored and hidden frames, other classes."""

from __future__ import annotations

import errno
import itertools
import os
import struct
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet.data.video.csv_list import read_csv
from movinet.data.video.decoding import evaluated, read_frames, scan, wanted
from movinet.data.video.folder import list_folder
from search_space.base.command_line import exit_code, place_fault
from search_space.base.errors import InputError

# Folders.

SPELLINGS = {
    "train": ("train", "Train", "TRAINING", "training"),
    "validation": ("val", "Val", "valid", "validation", "dev", "Validate"),
    "test": ("test", "TEST", "testing"),
}
SPLIT_OF = {name: split for split, names in SPELLINGS.items() for name in names}
OTHERS = ("jump", "run", "extra", "ümläut", "a b", "trainer", "test2")

top = st.sampled_from([*SPLIT_OF, *OTHERS])
inside = st.frozensets(st.sampled_from(["jump", "run", "walk", "jump/deep/down"]), max_size=3)
trees = st.dictionaries(top, st.tuples(st.booleans(), inside), min_size=1, max_size=5)
links = st.lists(st.sampled_from([None, "file inside", "file outside", "folder", "nothing"]), min_size=1, max_size=4)


def understood(tree: Mapping[str, tuple[bool, frozenset[str]]]) -> Any:
    """Return classes and videos by split as documented, None if the layout is refused.

    `tree`: for each folder, whether videos lie directly in it, and its subfolders with one video each.
    """
    filled = {name for name, (direct, below) in tree.items() if direct or below}
    splits = [SPLIT_OF[name] for name in filled if name in SPLIT_OF]
    if len(splits) != len(set(splits)):
        return None
    if filled and len(splits) == len(filled):
        if any(direct for direct, _ in tree.values()):
            return None
        by_split = {SPLIT_OF[name]: tree[name][1] for name in filled}
        first = by_split.get("train") or tree[min(filled)][1]
        classes = sorted({name.split("/")[0] for name in first})
        if any(name.split("/")[0] not in classes for below in by_split.values() for name in below):
            return None
        return tuple(classes), {split: len(below) for split, below in by_split.items()}
    if any(name in SPLIT_OF and tree[name][1] for name in filled) or filled != set(tree):
        return None
    return tuple(sorted(tree)), None


@given(trees, links, st.booleans())
def test_a_layout_is_understood_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    tree: Mapping[str, tuple[bool, frozenset[str]]],
    linked: list[str | None],
    linked_top: bool,
) -> None:
    """Test one to four levels. A link may lie beside the video of a folder; it counts if it is to a file inside."""
    if len({name.lower() for name in tree}) < len(tree):
        return  # a file system may treat them as equal
    root, outside = (tmp_path_factory.mktemp(name) for name in ("layout", "outside"))
    (outside / "v.mp4").touch()
    filled = [
        root / name / below
        for name, (direct, folders) in sorted(tree.items())
        for below in [""] * direct + sorted(folders)
    ]
    left_out: set[str] = set()
    inside_of: Counter[str] = Counter()
    for folder, kind in zip(filled, itertools.cycle(linked), strict=False):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "v.mp4").touch()
        if kind is not None:
            place = folder / "link.mp4"
            targets = {"file inside": filled[0] / "v.mp4", "file outside": outside / "v.mp4", "folder": root}
            place.symlink_to(targets.get(kind, root / "missing.mp4"))
            if kind == "file inside":
                inside_of[folder.relative_to(root).parts[0]] += 1
            else:
                left_out.add(place.relative_to(root).as_posix())
    for name in tree:
        (root / name).mkdir(exist_ok=True)
    if linked_top:
        (root / "walk").symlink_to(outside)
        left_out.add("walk")
    expected = understood(tree)
    try:
        found = list_folder(root)
    except InputError:
        assert expected is None
        return
    assert expected is not None and found.classes == expected[0]
    assert {item.file for item in found.skipped} == left_out
    counts = {split: len(files) for split, files in found.splits.items()}
    assert sum(counts.values()) == len(filled) + inside_of.total()
    if expected[1] is not None:
        of_split = {SPLIT_OF[name]: count for name, count in inside_of.items()}
        assert counts == {split: count + of_split.get(split, 0) for split, count in expected[1].items()}


# Labels of lists.

written = st.sampled_from(["0", "1", "2", "10", "2.0", "0.0", "3.", "-1", "1.5", "nan", "1e1", "jump", "run", "7up"])


@given(st.lists(written, min_size=1, max_size=6))
def test_labels_keep_their_numbers_or_are_refused(tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
    folder = tmp_path_factory.mktemp("list")
    for i in range(len(labels)):
        (folder / f"{i}.mp4").touch()
    (folder / "l.csv").write_text("label,file\n" + "".join(f"{label},{i}.mp4\n" for i, label in enumerate(labels)))
    names = {"jump", "run", "7up"}
    whole = {"0": 0, "1": 1, "2": 2, "10": 10, "2.0": 2, "0.0": 0, "3.": 3}
    expected: list[int] | None = None
    if set(labels) <= names:
        expected = [sorted(set(labels)).index(label) for label in labels]
    elif set(labels) <= whole.keys():
        expected = [whole[label] for label in labels]
    try:
        found = [file.label for file in read_csv(folder / "l.csv")[1]]
    except InputError:
        assert expected is None
        return
    assert found == expected


# Frames.

MATRICES = [  # a, b, c, d, and the corners of (top left, top right, bottom left, bottom right) = 0123
    ((1, 0, 0, 1), "0123"),
    ((-1, 0, 0, 1), "1032"),
    ((1, 0, 0, -1), "2301"),
    ((-1, 0, 0, -1), "3210"),
    ((0, 1, 1, 0), "0213"),
    ((0, 1, -1, 0), "2031"),
    ((0, -1, 1, 0), "1302"),
    ((0, -1, -1, 0), "3120"),
]
GREYS = (20, 90, 160, 230)


def encode(path: Path, codec: str, count: int = 3) -> None:
    """Write frames of 64 x 48 with a different grey in each corner, and a grey for the frame's number in the middle."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32], picture[24:, 32:] = GREYS
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(count):
            picture[16:32, 24:40] = 20 + 80 * (i % 3)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mjpeg"])
@pytest.mark.parametrize(("matrix", "corners"), MATRICES)
def test_a_display_matrix_turns_and_mirrors(
    tmp_path: Path, matrix: tuple[int, ...], corners: str, codec: str, suffix: str
) -> None:
    path = tmp_path / f"v{suffix}"
    encode(path, codec)
    data, (a, b, c, d) = bytearray(path.read_bytes()), matrix
    at = data.index(b"tkhd") + 44
    nine = a, b, 0, c, d, 0, 0, 0, 1
    data[at : at + 36] = struct.pack(">9i", *(v << (30 if i % 3 == 2 else 16) for i, v in enumerate(nine)))
    path.write_bytes(data)
    timeline = scan(path)
    assert not timeline.counted
    assert [(time - timeline.times[0]) * timeline.unit * 25 for time in timeline.times.tolist()] == [0, 1, 2]
    frames = read_frames(path, wanted(timeline, np.arange(3))[0]).astype(int)
    height, width = frames.shape[1:3]
    assert (width > height) == (matrix[0] != 0)
    middle = frames[:, height // 2, width // 2, 0]
    assert np.abs(middle - [20, 100, 180]).max() < 30
    seen = frames[:, [[height // 8], [7 * height // 8]], [width // 8, 7 * width // 8], 0].reshape(3, 4)
    nearest = np.abs(seen[..., None] - np.array(GREYS)).argmin(-1)
    assert ["".join(map(str, each)) for each in nearest] == [corners] * 3


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_frames_that_are_never_shown_are_not_counted(tmp_path: Path, codec: str) -> None:
    """An alternate reference is a packet whose frame is never shown; it precedes one that is."""
    plain, path = tmp_path / "plain.webm", tmp_path / "hidden.webm"
    encode(plain, codec, count=12)
    with av.open(str(plain)) as read, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for number, packet in enumerate(read.demux(video=0)):
            if not packet.size:
                continue
            packets = [packet]
            if number in (4, 8):
                data = bytearray(bytes(packet))
                data[0] &= 0xEF if codec == "libvpx" else 0xFD  # show_frame of VP8 and VP9
                hidden = av.Packet(bytes(data))
                hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
                packets.insert(0, hidden)
            for each in packets:
                each.stream = stream
                out.mux(each)
    with av.open(str(path)) as read:
        written = sum(bool(packet.size) for packet in read.demux(video=0))
        assert written == (14 if codec == "libvpx" else 12)  # VP9: merged with the one that is shown
    with av.open(str(path)) as read:
        shown = [frame.to_ndarray(format="rgb24") for frame in read.decode(video=0)]
    timeline = scan(path)
    assert len(timeline) == len(shown) == 12 and not timeline.counted
    np.testing.assert_array_equal(read_frames(path, wanted(timeline, np.arange(12))[0]), shown)


@pytest.mark.parametrize("size", [(24, 32), (33, 50)])  # smaller than the resized frame, and larger
def test_a_frame_alone_is_what_an_evaluation_sees(tmp_path: Path, size: tuple[int, int]) -> None:
    from movinet.training.config.experiment import DataConfig
    from movinet.training.input.batches import batches

    folder = tmp_path / "videos" / "some"
    folder.mkdir(parents=True)
    encode(folder / "v.mp4", "libx264", count=2)
    data = DataConfig(
        file_type="video_folder", input_path=str(tmp_path / "videos"), split="all", num_classes=1, min_image_size=33,
        feature_shape=(2, *size, 3), temporal_stride=1, global_batch_size=1, is_training=False, dtype="float32",
    )  # fmt: skip
    ((clips, _),) = batches(data, training=False, seed=0)
    with av.open(str(folder / "v.mp4")) as read:
        frames = [evaluated(frame, 33, *size) / np.float32(255) for frame in read.decode(video=0)]
    np.testing.assert_array_equal(clips.numpy()[0], frames)


# Records, classes and places.


def test_the_faulty_record_is_named(tmp_path: Path) -> None:
    import tensorflow as tf

    from movinet.training.config.experiment import DataConfig
    from movinet.training.input.batches import batches
    from movinet.training.input.record_faults import read_error
    from movinet.training.input.records import encode_jpeg, sequence_example, write_records

    clip = encode_jpeg(np.zeros((4, 32, 32, 3), np.uint8))

    def read(name: str, examples: list[bytes]) -> str:
        file = tmp_path / name
        write_records(file, examples)
        data = DataConfig(
            input_path=str(file), file_type="tfrecord", num_classes=3, feature_shape=(2, 32, 32, 3), min_image_size=32,
            global_batch_size=2, is_training=False,
        )  # fmt: skip
        try:
            for _ in batches(data, training=False, seed=0):
                pass
        except tf.errors.InvalidArgumentError as error:
            return str(read_error(error, "validation_data", [data]))
        return ""

    good = [sequence_example(clip, label) for label in (0, 1, 2)]
    assert read("good", good) == ""
    for label in (3, -1):
        assert f"record 3: {label} is not a valid label for num_classes: 3" in read(
            "label", [*good, sequence_example(clip, label)]
        )
    assert "record 3: frame 0: 'Unknown image" in read("picture", [*good, sequence_example([b"no"] * 4, 1)])


@pytest.mark.slow
@given(st.lists(st.sampled_from([0, 1, 2, 0, 1, 2, -1, 3, 2**40, None]), min_size=1, max_size=6))
def test_records_with_damaged_labels_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, labels: list[int | None]
) -> None:
    """`None` is a record without a label."""
    import tensorflow as tf

    from movinet.training.config.experiment import DataConfig
    from movinet.training.input.batches import batches
    from movinet.training.input.record_faults import read_error
    from movinet.training.input.records import encode_jpeg, sequence_example, write_records

    file = tmp_path_factory.mktemp("records") / "some.tfrecord"
    clip = encode_jpeg(np.zeros((2, 16, 16, 3), np.uint8))
    records = []
    for label in labels:
        example = tf.train.SequenceExample.FromString(sequence_example(clip, label or 0))
        value = example.context.feature["clip/label/index"].int64_list
        assert list(value.value) == [label or 0]
        value.value[:] = [] if label is None else [label]
        records.append(example.SerializeToString())
    write_records(file, records)
    data = DataConfig(
        input_path=str(file), file_type="tfrecord", num_classes=3, feature_shape=(2, 16, 16, 3), min_image_size=16,
        global_batch_size=1, is_training=False,
    )  # fmt: skip
    bad = [place for place, label in enumerate(labels) if label not in (0, 1, 2)]
    try:
        found = [int(own[0]) for _, own in batches(data, training=False, seed=0)]
    except InputError as error:  # an error of the first record
        assert bad[0] == 0 and "record 0" in str(error)
    except tf.errors.InvalidArgumentError as error:
        assert bad and f"record {bad[0]}: " in str(read_error(error, "validation_data", [data]))
    else:
        assert not bad and found == labels


def test_a_record_that_cannot_be_decoded_is_replaced_in_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The order of all others is the same as without it."""
    from movinet.training.config.experiment import DataConfig
    from movinet.training.input.batches import batches
    from movinet.training.input.records import encode_jpeg, sequence_example, write_records

    clips = [encode_jpeg(np.full((4, 32, 32, 3), 12 * i, np.uint8)) for i in range(20)]

    def labels(name: str, examples: list[bytes], count: int) -> list[int]:
        write_records(tmp_path / name, examples)
        data = DataConfig(
            input_path=str(tmp_path / name), file_type="tfrecord", num_classes=20, feature_shape=(2, 32, 32, 3),
            min_image_size=32, global_batch_size=1, shuffle_buffer_size=1,
        )  # fmt: skip
        return [int(own[0]) for _, own in batches(data, training=True, seed=0).take(count)]

    whole = [sequence_example(clip, label) for label, clip in enumerate(clips)]
    broken = list(whole)
    broken[7] = sequence_example([clips[7][0], *[b"no"] * 3], 7)
    broken[12] = sequence_example([each[: len(each) // 3] for each in clips[12]], 12)
    assert labels("whole", whole, 20) == list(range(20))
    assert labels("broken", broken, 18) == [label for label in range(20) if label not in (7, 12)]
    said = capfd.readouterr().err
    assert all(f"broken: record {number} is skipped: a frame cannot be decoded" in said for number in (7, 12))


def test_classes_that_would_be_numbered_otherwise_are_refused() -> None:
    from movinet.training.input.class_names import check_same

    check_same("validation", ("jump", "run"), "train", ("jump", "run", "walk"))
    check_same("validation", (), "train", ("jump", "run", "walk"))
    with pytest.raises(InputError, match="validation: 'run' is class 0, which is 'jump' in train"):
        check_same("validation", ("run", "walk"), "train", ("jump", "run", "walk"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.ENAMETOOLONG])
def test_a_place_that_cannot_be_used_is_one_line(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise OSError(code, os.strerror(code), "some/where")

    assert exit_code(work) == 2
    assert capsys.readouterr().err == f"error: some/where: {os.strerror(code)}\n"
    assert place_fault(ValueError("no file")) == ""


def test_output_without_the_characters_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from search_space.base.command_line import print_escaped

    with open(tmp_path / "out", "w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        print_escaped("224²")
    assert (tmp_path / "out").read_text() == "224?\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be as in"),
        ('{"cluster": {"worker": ["host"]}}', "must be a list of HOST:PORT"),
        ('{"cluster": {"worker": ["host:1"]}, "task": {"type": "worker", "index": 1}}', "must be one of the cluster's"),
    ],
)
def test_a_broken_tf_config_is_one_line(text: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from movinet.training.config.experiment import RuntimeConfig
    from movinet.training.strategy import make_strategy

    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=why):
        make_strategy(RuntimeConfig(distribution_strategy="multi_worker_mirrored"))
