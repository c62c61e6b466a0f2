"""Test malicious files: no code in them is executed, only the requested files are written, one line has the reason.

Every payload here would leave a file, the canary, if it was executed.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import drawn_weights
import forged_checkpoint
import h5py
import keras
import numpy as np
import pytest
import synthetic_run
from release_cases import CLASSES, RECORDED, TINY

import run_search
from movinet.data import store
from movinet.data.video import csv_list, folder
from movinet.data.video.decoder import Decoder
from movinet.data.video.timeline import UnusableVideo
from movinet.model.keras_model import build
from movinet.weights.checkpoint import load_weights, named_variables, save_weights
from nas.loop.run_lock import RunLock
from nas.one_shot import run as one_shot_run
from nas.record.ledger import read
from search_space.base.errors import InputError
from search_space.variant import STREAM

Refused = Callable[..., str]


class Payload:
    """An object whose pickle executes a command when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Yield the path of a missing file, in a folder of which only `work` may change."""
    (tmp_path / "work").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "home").mkdir()
    yield tmp_path / "canary"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "victim", "work"]
    assert (tmp_path / "victim").read_text() == "mine" and not any((tmp_path / "home").iterdir())


@pytest.fixture
def work(canary: Path) -> Path:
    return canary.with_name("work")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must fail; return its one line."""

    def run(*arguments: object) -> str:
        assert run_search.main([str(each) for each in arguments]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
        assert said.err.rstrip("\n").isprintable()
        return said.err

    return run


# -- configurations -----------------------------------------------------------------------------------


def test_yaml_that_would_execute(canary: Path, work: Path, refused: Refused) -> None:
    file = work / "my.yaml"
    for text in (
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"family: !!python/object/new:os.system ['touch {canary}']",
        f"algorithm: {{name: !!python/object/apply:subprocess.getoutput ['touch {canary}']}}",
        "space: !!python/module:this",
    ):
        file.write_text(text)
        assert "is not YAML" in refused("search", file, "--out", work / "out")
        assert "is not YAML" in refused("describe", file)


def test_yaml_that_would_take_all_memory_or_time(canary: Path, work: Path, refused: Refused) -> None:
    file = work / "my.yaml"
    letters = "abcdefghij"
    ten = [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip(letters, letters[1:], strict=False)]
    merged = [f"{b}: &{b}\n  <<: [{', '.join([f'*{a}'] * 10)}]" for a, b in zip(letters, letters[1:], strict=False)]
    for text, said in (
        ("\n".join(["a: &a [0, 0]", *ten]), "values"),
        ("\n".join(["a: &a {x: 1}", *merged]), "values"),
        ("[" * 60 + "]" * 60, "levels"),
        ("x: " + "1:" * 20_000 + "1", "too long"),
        ("x: &x [*x]", "levels"),
    ):
        file.write_text(text)
        assert said in refused("search", file, "--out", work / "out")


@pytest.mark.parametrize("kind", ["pipe", "zero", "link"])
def test_files_that_never_end(kind: str, canary: Path, work: Path, refused: Refused) -> None:
    """A pipe without a writer, a device, and a link to a device."""
    for name in ("my.yaml", "run/ledger.jsonl", "table.csv"):
        file = work / name
        file.parent.mkdir(exist_ok=True)
        if kind == "pipe":
            os.mkfifo(file)
        elif kind == "zero":
            try:
                os.mknod(file, 0o20600, os.makedev(1, 5))
            except PermissionError:
                pytest.skip("may not make devices")
        else:
            file.symlink_to("/dev/zero")
    assert "regular file" in refused("search", work / "my.yaml", "--out", work / "out")
    assert "regular file" in refused("reliability", work / "table.csv")
    said = refused("plot", work / "run")
    assert "regular file" in said or "is a link" in said


# -- a run's folder -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["trials.csv", "front.png", "configs", "coefficients", "configs/deep/link", "run.lock"]
)
def test_links_in_the_folder_of_a_run(name: str, canary: Path, work: Path, refused: Refused) -> None:
    synthetic_run.run(work / "run", searched=8, repeats=1)
    link = work / "run" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(canary.with_name("home") if "." not in name else canary.with_name("victim"))
    for command in (["plot"], ["scale"], ["search", "--resume"], ["one-shot", "--resume"]):
        assert "link" in refused(*command, work / "run")


def test_a_lock_that_leads_elsewhere(canary: Path, work: Path) -> None:
    (work / "run.lock").symlink_to(canary)
    with pytest.raises(InputError, match="prevented locking"), RunLock(work):
        pass


def test_names_of_models_that_lead_elsewhere(canary: Path, work: Path, refused: Refused) -> None:
    ledger = synthetic_run.run(work / "run", searched=8, repeats=1)
    first, *rest = ledger.path.read_text().splitlines(keepends=True)
    for name in ("../../canary", str(canary), "a\x1b[2J", "a/b"):
        header = json.loads(first) | {"config": {"family": {"targets": {name: 1e9}}}}
        ledger.path.write_text("".join([json.dumps(header) + "\n", *rest]))
        assert "must be a name of lower-case letters" in refused("scale", work / "run")


def test_texts_that_a_terminal_or_a_picture_would_act_on(
    canary: Path, work: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    """Put escape sequences, text direction marks, HTML and formulas into every text of an event log."""
    nasty = "\x1b]0;owned\x07\x1b[31m\u202e<script>alert(1)</script>$\\frac{1}{0}$\\\\"
    ledger = synthetic_run.run(work / "run", searched=14, repeats=1)
    lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    for line in lines[1:]:
        for key in ("label", "reason", "fingerprint"):
            if line.get(key):
                line[key] += nasty
    ledger.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(read(ledger.path).completed) > 5
    for command in ("plot", "scale"):
        code = run_search.main([command, str(work / "run")])
        said = capsys.readouterr()
        assert code in (0, 2) and "Traceback" not in said.err
        assert not any(each in said.out + said.err for each in ("\x1b", "\x07", "\u202e"))
    assert (work / "run" / "front.png").stat().st_size > 0


def test_a_pickle_for_a_checkpoint_of_a_one_shot_search(canary: Path, work: Path, refused: Refused) -> None:
    file = work / "supernet" / "checkpoint.npz"
    file.parent.mkdir()
    array = np.array([Payload(canary)], dtype=object)
    for content in (pickle.dumps(Payload(canary)), npz(plain=array), npz(plain=np.array("{}"), x=array), bomb()):
        file.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            one_shot_run.read_checkpoint(file)
        assert "cannot be read" in refused("one-shot", "--resume", work)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **arrays)
    return file.getvalue()


def bomb() -> bytes:
    """Return an archive that is a thousand times as large when unpacked."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plain.npy", bytes(2**26))
    return file.getvalue()


def test_a_pickle_in_a_cache_of_clips(canary: Path, work: Path) -> None:
    header = {"schema": store.SCHEMA, "name": "x", "classes": ["a"], "ticks": 2, "resolution": 4, "content_hash": "",
              "skipped": [], "counts": dict.fromkeys(store.SPLITS, 1)}  # fmt: skip
    (work / "dataset.json").write_text(json.dumps(header))
    (work / "train").mkdir()
    for content in (pickle.dumps(Payload(canary)), npz(x=np.zeros(3)), npy(np.array([Payload(canary)], dtype=object))):
        (work / "train" / "clips.npy").write_bytes(content)
        with pytest.raises(InputError, match="clips.npy"):
            store.open_dataset(work)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


# -- weights ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> keras.Model:
    made = build(TINY, CLASSES, variant=STREAM, seed=0)
    for name, variable in named_variables(made).items():
        variable.assign(drawn_weights.values("malicious", name, variable.shape))
    return made


def refuses(model: keras.Model, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_weights(model, path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_model_of_keras_with_code_in_it(model: keras.Model, canary: Path, work: Path) -> None:
    """Keras would unmarshal the function of a Lambda layer; this project does not read a model's description at all."""
    command = f"touch {canary}"
    inside = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: (os.system(command), x)[1])])
    canary.unlink(missing_ok=True)  # the function ran to infer its shape
    inside.save(work / "lambda.keras")
    assert not canary.exists()
    assert "does not fit the model" in refuses(model, work / "lambda.keras")
    save_weights(model, work / "good.keras")
    with zipfile.ZipFile(work / "good.keras") as good, zipfile.ZipFile(work / "lambda.keras") as bad:
        members = {name: good.read(name) for name in good.namelist()} | {"config.json": bad.read("config.json")}
    with zipfile.ZipFile(work / "both.keras", "w") as both:
        for name, content in members.items():
            both.writestr(name, content)
    load_weights(model, work / "both.keras")  # the weights are good


def test_weights_that_lie_elsewhere_or_nowhere(model: keras.Model, canary: Path, work: Path) -> None:
    """Test links to other files, bytes of other files, arrays without bytes, archives that unpack without end."""
    save_weights(model, work / "good.weights.h5")

    def with_first(change: Callable[[h5py.Group, str], None]) -> Path:
        path = work / "bad.weights.h5"
        shutil.copy(work / "good.weights.h5", path)
        with h5py.File(path, "r+") as file:
            layer = next(iter(file["layers"].values()))["vars"]
            name = next(iter(layer))
            del layer[name]
            change(layer, name)
        return path

    def external(layer: h5py.Group, name: str) -> None:
        layer.create_dataset(name, (1,), "f4", external=[(str(canary.with_name("victim")), 0, 4)])

    def linked(layer: h5py.Group, name: str) -> None:
        layer[name] = h5py.ExternalLink(str(work / "good.weights.h5"), "/layers")

    def soft(layer: h5py.Group, name: str) -> None:
        layer[name] = h5py.SoftLink("/layers")

    def endless(layer: h5py.Group, name: str) -> None:
        layer.create_dataset(name, (2**40,), "f4", chunks=(1024,))

    def of_texts(layer: h5py.Group, name: str) -> None:
        layer.create_dataset(name, (3,), h5py.string_dtype())

    for change in (external, linked, soft, endless, of_texts):
        assert "cannot be read as a Keras file" in refuses(model, with_first(change))
    with zipfile.ZipFile(work / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**26))
    assert "are packed" in refuses(model, work / "bomb.keras")
    os.mkfifo(work / "pipe.h5")
    assert "is not a .keras or .weights.h5 file" in refuses(model, work / "pipe.h5")


MODEL = {0: {"model": 1}, 1: {"_operations": 2}, 2: {"0": 3}, 3: {"conv": 4}}
DOUBLING = {0: {"model": 1}} | {n: {"_operations": n + 1} if n % 2 else {"0": n + 1, "1": n + 1} for n in range(1, 60)}
FORGED = {
    "an array without bytes": (MODEL, {4: "stem/conv"}, {"stem/conv": (2**40,)}, None, "has shape"),
    "more than can be counted": (MODEL, {4: "stem/conv"}, {"stem/conv": (2**31,) * 3}, None, "has shape"),
    "a negative size": (MODEL, {4: "stem/conv"}, {"stem/conv": (-5,)}, None, "no readable size"),
    "a text without bytes": (MODEL, {4: "stem/conv"}, {"stem/conv": (1,)}, 2**40, "has an impossible length"),
    "a model in itself": ({0: {"model": 0, "_operations": 0}}, {}, {}, None, "nested models"),
    "models without end": (DOUBLING, {}, {}, None, "nested models"),
    "a value that is not there": (MODEL, {4: "stem/conv"}, {}, None, "not an array of numbers"),
    "an escape sequence": (MODEL, {4: "stem/\x1b[31m"}, {"stem/\x1b[31m": (1,)}, None, r"stem/\x1b[31m"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_checkpoints_of_tensorflow(name: str, model: keras.Model, canary: Path, work: Path) -> None:
    children, keys, shapes, length, said = FORGED[name]
    forged_checkpoint.write(work / "ckpt-1", forged_checkpoint.linked(children, keys), shapes, length)
    assert said in refuses(model, work)


def test_a_checkpoint_file_that_leads_elsewhere(model: keras.Model, canary: Path, work: Path) -> None:
    """The file `checkpoint` of a folder may contain any path, or a URL."""
    for name in (str(RECORDED / "release_tiny" / "ckpt-1"), "gs://evil/ckpt-1", "../work/../ckpt-1"):
        (work / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')
        assert "must hold one TensorFlow checkpoint; it holds none" in refuses(model, work)


# -- archives -----------------------------------------------------------------------------------------


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, size
    return made


def archived(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for each in members:
            tar.addfile(each, io.BytesIO(bytes(each.size)))
    return path


def test_archives_that_would_leave_their_folder(model: keras.Model, canary: Path, work: Path) -> None:
    home = canary.with_name("home")
    for members, said in (
        ([member(str(canary), size=3)], "leads out"),
        ([member("../canary", size=3)], "leads out"),
        ([member("a/../../../canary", size=3)], "leads out"),
        ([member("a", tarfile.SYMTYPE, str(home)), member("a/x", size=3)], "neither a file nor a folder"),
        ([member("a", tarfile.LNKTYPE, str(canary.with_name("victim"))), member("a", size=3)], "neither a file"),
        ([member("a", tarfile.CHRTYPE)], "neither a file nor a folder"),
        ([member("a", tarfile.FIFOTYPE)], "neither a file nor a folder"),
        ([member(f"{n}") for n in range(1001)], "more than 1000"),
        ([member("a/ckpt-1.index"), member("b/ckpt-1.index")], "one folder with a checkpoint"),
        ([member("a\x1b[2J/ckpt-1.index", tarfile.SYMTYPE, "x")], r"\x1b[2J"),
    ):
        assert said in refuses(model, archived(work / "weights.tar.gz", *members))
    (work / "weights.tar.gz").write_bytes(b"\x1f\x8b damaged")
    assert "cannot be unpacked" in refuses(model, work / "weights.tar.gz")


def test_an_archive_that_unpacks_without_end(model: keras.Model, canary: Path, work: Path) -> None:
    class Zeros(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    with tarfile.open(work / "bomb.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.addfile(member("ckpt-1.index", size=2**30 + 1), Zeros())
    assert "unpacks to more than" in refuses(model, work / "bomb.tar.gz")


def test_an_archive_as_the_release_publishes_them(model: keras.Model, canary: Path, work: Path) -> None:
    with tarfile.open(work / "movinet_tiny.tar.gz", "w:gz") as tar:
        tar.add(RECORDED / "release_tiny", "movinet_tiny")
    load_weights(model, RECORDED / "release_tiny")
    expected = {name: variable.numpy() for name, variable in named_variables(model).items()}
    for variable in named_variables(model).values():
        variable.assign(variable * 0)
    load_weights(model, work / "movinet_tiny.tar.gz")
    for name, variable in named_variables(model).items():
        np.testing.assert_array_equal(variable, expected[name])


# -- videos -------------------------------------------------------------------------------------------


def test_links_out_of_a_folder_of_videos(canary: Path, work: Path) -> None:
    (canary.with_name("victim")).rename(work / "secret.mp4")
    (work / "secret.mp4").rename(canary.with_name("victim"))
    (work / "clips" / "a").mkdir(parents=True)
    (work / "clips" / "a" / "good.mp4").write_bytes(b"")
    (work / "clips" / "a" / "out.mp4").symlink_to(canary.with_name("victim"))
    (work / "clips" / "a" / "up").symlink_to(canary.parent)
    os.mkfifo(work / "clips" / "a" / "pipe.mp4")
    listing = folder.list_folder(work / "clips")
    assert [file.name for file in listing.of("all")] == ["a/good.mp4"]
    assert {skipped.file for skipped in listing.skipped} == {"a/out.mp4", "a/pipe.mp4", "a/up"}
    (work / "clips" / "list.csv").write_text("label,file\nx,../../victim\nx,a/out.mp4\nx,/etc/passwd\nx,a/good.mp4\n")
    _, files, skipped = csv_list.read_csv(work / "clips" / "list.csv")
    assert [file.name for file in files] == ["a/good.mp4"] and len(skipped) == 3


PLAYLISTS = {
    "list.mp4": "ffconcat version 1.0\nfile '{victim}'\n",
    "list.mkv": "#EXTM3U\n#EXTINF:1,\nfile://{victim}\n#EXT-X-ENDLIST\n",
    "list.ts": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:9/"\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n',
    "list.avi": "<SMIL><body><video src='{victim}'/></body></SMIL>",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_videos_that_name_other_files_or_addresses(name: str, canary: Path, work: Path) -> None:
    (work / name).write_text(PLAYLISTS[name].format(victim=canary.with_name("victim")))
    decoder = Decoder(1)
    with pytest.raises(UnusableVideo):
        decoder.scan(work / name)
    decoder.close()
