"""Test exported models against the Keras model: whole, in chunks and by frame; invalid input leaves no file."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from unsettled import unsettle

from movinet import export
from movinet.deploy import litert, saved_model
from movinet.deploy.interpreter import LiteRT
from movinet.deploy.network_flags import Subject
from movinet.deploy.sample_clips import sample_clips
from movinet.model import stream
from movinet.model.keras_model import build
from search_space import network
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.published import PUBLISHED
from search_space.space.movinet import BlockConfig, SpaceConfig, movinet_space
from search_space.variant import BASE, STREAM, Variant, released_stream

ROOT = Path(__file__).parents[1]
CLASSES = 5
FRAMES = 8
CHUNKS = (1, 3, 8)
SMALL = Architecture(
    Clip(FRAMES, 16, 2),
    Stem(8),
    (
        Block(8, 2, (Layer(16, (1, 5, 5)), Layer(24, (3, 3, 3), squeeze_excite=False))),
        Block(16, 2, (Layer(24, (5, 3, 3)), Layer(32, (3, 1, 1)))),
    ),
    Head(project=24, dense=32),
)
POSITIONED = dataclasses.replace(STREAM, use_positional_encoding=True)
CAUSAL = Variant(causal=True, use_positional_encoding=True)
SPACE = movinet_space(
    SpaceConfig(
        name="exported",
        classes=CLASSES,
        frames=FRAMES,
        frame_strides=(1,),
        resolutions=(14, 17),
        stem_widths=(8, 16),
        blocks=(BlockConfig(8, (8, 16), 2, (1, 2)), BlockConfig(16, (16, 24), 2, (1, 2))),
        project=(24, 32),
        dense=16,
    )
)


def settled(architecture: Architecture, variant: Variant, seed: int = 0) -> keras.Model:
    """Return a model for clips of any size without initial weights and statistics, because ReZero of 0 hides errors."""
    model = build(architecture, CLASSES, variant=variant, input_shape=(None, None, None), seed=seed)
    return unsettle(model, seed)


def clips(batch: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, FRAMES, size, size, 3), np.float32)


def whole(model: keras.Model, image: np.ndarray) -> np.ndarray:
    return np.asarray(model(image))


def in_chunks(step: Callable[[dict[str, Any]], Any], first: Any, image: np.ndarray, size: int) -> np.ndarray:
    states = dict(first)
    for start in range(0, FRAMES, size):
        logits, states = step({"image": tf.constant(image[:, start : start + size]), **states})
    return np.asarray(logits)


def litert_file(model: keras.Model, frames: int, size: int, causal: bool) -> bytes:
    make = saved_model.stream_function if causal else saved_model.clip_function
    return litert.convert(make(model, (1, frames, size, size, 3)))


def assert_built_in(file: LiteRT) -> None:
    assert not [name for name in file.operations() if name.startswith("Flex") or name == "CUSTOM"]


def close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


def test_a_saved_model_for_clips_is_called_as_the_release_s(tmp_path: Path) -> None:
    model, image = settled(SMALL, BASE), clips(2, 16)
    saved_model.save(model, tmp_path / "base", (None, None, None, None, 3))
    loaded, expected = tf.saved_model.load(str(tmp_path / "base")), whole(model, image)
    close(loaded(tf.constant(image)), expected)
    close(loaded({"image": tf.constant(image)}), expected)
    close(loaded.signatures["serving_default"](image=tf.constant(image))["logits"], expected)


@pytest.mark.parametrize("variant", [POSITIONED, CAUSAL], ids=["positioned", "causal 3d"])
def test_a_saved_stream_is_the_clip_in_any_pieces(tmp_path: Path, variant: Variant) -> None:
    model, image = settled(SMALL, variant), clips(2, 16)
    saved_model.save(model, tmp_path / "stream", (None, None, None, None, 3))
    loaded, expected = tf.saved_model.load(str(tmp_path / "stream")), whole(model, image)
    first = loaded.signatures["init_states"](tf.constant(image.shape))
    assert set(first) == set(stream.state_specs(model, image.shape))
    for size in CHUNKS:
        close(in_chunks(loaded, first, image, size), expected)
    close(loaded.signatures["call"](image=tf.constant(image), **first)["logits"], expected)
    assert set(loaded.signatures) == {"serving_default", "call", "init_states"}


@pytest.mark.parametrize(("variant", "size"), [(STREAM, 3), (POSITIONED, 8), (CAUSAL, 1)])
def test_a_litert_stream_is_the_clip_in_pieces(variant: Variant, size: int) -> None:
    model = settled(SMALL, variant)
    image = clips(1, 16)[:, : FRAMES // size * size]
    run = LiteRT(litert_file(model, size, 16, causal=True))
    assert_built_in(run)
    close(run(image), whole(model, image))


@pytest.mark.parametrize(("seed", "variant"), [(1, BASE), (2, POSITIONED)])
def test_random_architectures_in_litert(seed: int, variant: Variant) -> None:
    architecture = SPACE.decode(SPACE.sample(np.random.default_rng(seed), 1)[0])
    size = architecture.clip.resolution
    model, image = settled(architecture, variant, seed), clips(1, size, seed)
    run = LiteRT(litert_file(model, 1 if variant.causal else FRAMES, size, variant.causal))
    assert_built_in(run)
    close(run(image), whole(model, image))


@pytest.mark.slow
@pytest.mark.parametrize("variant", [STREAM, POSITIONED], ids=["stream", "positioned"])
@pytest.mark.parametrize("seed", range(20))
def test_random_architectures_in_any_pieces(tmp_path: Path, seed: int, variant: Variant) -> None:
    architecture = SPACE.decode(SPACE.sample(np.random.default_rng(seed), 1)[0])
    size = architecture.clip.resolution
    model, image = settled(architecture, variant, seed), clips(1, size, seed)
    expected = whole(model, image)
    saved_model.save(model, tmp_path / "stream", (None, None, None, None, 3))
    loaded = tf.saved_model.load(str(tmp_path / "stream"))
    first = loaded.signatures["init_states"](tf.constant(image.shape))
    for chunk in CHUNKS:
        close(in_chunks(loaded, first, image, chunk), expected)
    for chunk in (1, 2):
        close(LiteRT(litert_file(model, chunk, size, causal=True))(image), expected)


def test_an_int8_stream_may_be_longer_than_the_clips_its_ranges_are_from() -> None:
    model = settled(SMALL, POSITIONED)
    asked = export.Export(Path("small.tflite"), "tflite", "int8", representative="tiny", representative_count=36)
    subject = Subject("small", model, SMALL.clip, True, True)
    run = LiteRT(export.litert_file(subject, asked, subject.shape(1, None, None)))
    session = stream.StreamSession(model)
    for clip in np.tile(sample_clips("tiny", (FRAMES, 16, 16, 3), 2, 1), (25, 1, 1, 1, 1)):
        expected = session.push(clip)
        for frame in range(FRAMES):
            found = run.push(clip[None, frame : frame + 1])
    assert session.frames == 25 * FRAMES
    assert np.abs(found - expected).max() < 0.25 * max(1.0, np.abs(expected).max())


# Down to 2 x 2 pixels, and to one pixel, for which LiteRT computes no mean.
@pytest.mark.parametrize(("size", "variant"), [(16, POSITIONED), (8, BASE)])
def test_every_product_with_weights_is_int8(size: int, variant: Variant) -> None:
    asked = export.Export(Path("small.tflite"), "tflite", "int8", representative="tiny", representative_count=36)
    subject = Subject("small", settled(SMALL, variant), SMALL.clip, variant.causal, True)
    run = LiteRT(export.litert_file(subject, asked, subject.shape(1, None, size)))
    dtypes = {int(tensor["index"]): tensor["dtype"] for tensor in run.interpreter.get_tensor_details()}
    for operation in run.interpreter._get_ops_details():
        if operation["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            assert [dtypes[int(i)] for i in operation["outputs"]] == [np.int8]


def exported(arguments: str, path: Path) -> int:
    return export.main([*arguments.split(), f"--export_path={path}"])


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """Write a network file, small enough to be exported in seconds."""
    file = tmp_path / "small.yaml"
    file.write_text(network.dump(network.counted("small", (SMALL,), CLASSES)), encoding="utf-8")
    return file


def test_a_network_file_to_saved_model_by_command(
    small_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "stream"
    assert exported(f"--config={small_file} --variant=stream --use_positional_encoding", out) == 0
    assert "top-1 agrees in 100%" in capsys.readouterr().out
    assert sorted(os.listdir(out.parent)) == ["stream"]
    run = export.load_saved_model(out)
    assert run(clips(3, 16)).shape == (3, CLASSES)


@pytest.mark.parametrize(("variant", "quantize"), [("base", "int8"), ("stream", "float16")])
def test_smaller_numbers_by_command(small_file: Path, tmp_path: Path, variant: str, quantize: str) -> None:
    out = tmp_path / f"{variant}.tflite"
    how = f"--format=tflite --quantize={quantize} --representative=tiny --representative_count=36"
    assert exported(f"--config={small_file} --variant={variant} {how}", out) == 0
    run = LiteRT(out.read_bytes())
    assert_built_in(run)
    assert run(clips(1, 16)).shape == (1, CLASSES)
    assert run.inputs["image"]["dtype"] is np.float32


def test_an_ensemble_by_command(tmp_path: Path) -> None:
    file = tmp_path / "pair.yaml"
    pair = network.temporal_ensemble("pair", dataclasses.replace(SMALL, clip=Clip(FRAMES, 16, 2)), CLASSES)
    file.write_text(network.dump(pair), encoding="utf-8")
    assert exported(f"--config={file}", tmp_path / "pair") == 0


def test_a_member_of_a_smaller_resolution_is_resized_by_built_in_operations(tmp_path: Path) -> None:
    file, out = tmp_path / "sizes.yaml", tmp_path / "sizes.tflite"
    members = [dataclasses.replace(SMALL, clip=Clip(FRAMES, resolution, 2)) for resolution in (16, 12)]
    file.write_text(network.dump(network.counted("sizes", tuple(members), CLASSES)), encoding="utf-8")
    assert exported(f"--config={file} --format=tflite", out) == 0  # compares the file with the Keras model
    assert_built_in(LiteRT(out.read_bytes()))


@pytest.mark.parametrize(
    ("arguments", "name", "said"),
    [
        ("--format=onnx", "out", "--format: 'onnx' must be one of saved_model, tflite"),
        ("--format=tflite", "out", "must end in .tflite"),
        ("--format=tflite --quantize=int4", "out.tflite", "--quantize: 'int4' must be one of"),
        ("--quantize=int8", "out", "is for --format=tflite"),
        ("--config=a9", "out", "is not a published network"),
        ("--config=a0 --variant=flow", "out", "--variant: 'flow' must be one of base, stream"),
        ("--causal=perhaps", "out", "must be true or false"),
        ("--image_size=0", "out", "--image_size: 0 must be"),
        ("--checkpoint_path=/nowhere", "out", "'/nowhere' is not a .keras"),
        ("--representative=/nowhere", "out", "--representative: '/nowhere' must be"),
        ("--tolerance=-1", "out", "is above the tolerance -1; the file was not written"),
        ("--no_such_flag", "out", "--no_such_flag"),
    ],
)
def test_one_line_and_nothing_half_written(
    small_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, name: str, said: str
) -> None:
    config = "" if "--config" in arguments else f"--config={small_file}"
    assert exported(f"{config} {arguments}", tmp_path / "made" / name) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and said in lines[0]
    assert not list((tmp_path / "made").glob("*")) and not list((tmp_path / "made").glob(".*"))


def test_what_is_there_is_not_overwritten(small_file: Path, tmp_path: Path) -> None:
    (tmp_path / "there.tflite").write_text("mine", encoding="utf-8")
    assert exported(f"--config={small_file} --format=tflite", tmp_path / "there.tflite") == 2
    assert (tmp_path / "there.tflite").read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_streams_in_every_form(tmp_path: Path, name: str) -> None:
    size = 48
    model, image = settled(PUBLISHED[name], released_stream(name)), clips(1, size)
    expected = whole(model, image)
    saved_model.save(model, tmp_path / "stream", (None, None, None, None, 3))
    loaded = tf.saved_model.load(str(tmp_path / "stream"))
    first = loaded.signatures["init_states"](tf.constant(image.shape))
    for chunk in CHUNKS:
        close(in_chunks(loaded, first, image, chunk), expected)
    for chunk in (1, 2, 8):
        run = LiteRT(litert_file(model, chunk, size, causal=True))
        assert_built_in(run)
        close(run(image), expected)
    base = settled(PUBLISHED[name], BASE)
    close(LiteRT(litert_file(base, FRAMES, size, causal=False))(image), whole(base, image))


@pytest.mark.slow
def test_int8_agrees_with_float_on_the_embedded_digits() -> None:
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "int8_agreement.py"), "--least", "0.95"]
    subprocess.run(command, cwd=ROOT, check=True)
