"""Agreement of int8 files with the Keras model in the predicted class, on the bundled example data set.

    python tests/benchmarks/int8_agreement.py [--write]

Train a small network in each variant for some minutes of one core, export it as the command does, and compare on the
whole test split. `--least 0.95` ends with an error if one of the int8 files agrees less often.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import section
import tensorflow as tf

from movinet.data.proxy.moving_digits import DEFAULT, moving_digits
from movinet.data.store import Dataset
from movinet.deploy.interpreter import LiteRT
from movinet.deploy.litert import QUANTIZATIONS
from movinet.deploy.network_flags import Subject
from movinet.export import Export, litert_file
from movinet.model.keras_model import build
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.variant import BASE, STREAM, Variant

STRIDE = 2
BATCH = 32
CALIBRATED = 100  # clips, the command's default
NETWORK = Architecture(
    Clip(DEFAULT.ticks // STRIDE, DEFAULT.resolution, STRIDE),
    Stem(8),
    (
        Block(8, 2, (Layer(24, (1, 5, 5)),)),
        Block(16, 2, (Layer(48, (3, 3, 3)), Layer(48, (3, 3, 3)))),
        Block(24, 2, (Layer(72, (5, 3, 3)), Layer(72, (3, 3, 3)))),
        Block(24, 1, (Layer(72, (5, 3, 3)), Layer(72, (3, 3, 3)))),
        Block(48, 2, (Layer(144, (5, 3, 3)), Layer(144, (1, 5, 5)))),
    ),
    Head(project=128, dense=512),
)
VARIANTS = {
    "base": BASE,
    "base, hard_swish": dataclasses.replace(BASE, activation="hard_swish", gating_activation="hard_sigmoid"),
    "stream": STREAM,
    "stream, positional encoding": dataclasses.replace(STREAM, use_positional_encoding=True),
}


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of one file."""

    agreement: float
    accuracy: float
    kilobytes: float


def batches(data: Dataset, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield clips in 0..1 and labels without end; each epoch has every clip once."""
    rng, clips = np.random.default_rng(seed), len(data.train)
    while True:
        for chosen in rng.permutation(clips)[: clips // BATCH * BATCH].reshape(-1, BATCH):
            yield pixels(data.train.clips[np.sort(chosen)]), data.train.labels[np.sort(chosen)]


def pixels(clips: np.ndarray) -> np.ndarray:
    """Return float32 in 0..1 at the network's frame rate."""
    return clips[:, ::STRIDE].astype(np.float32) / np.float32(255)


def trained(variant: Variant, data: Dataset, steps: int) -> keras.Model:
    """Return a network trained by AdamW for `steps` steps."""
    network = build(NETWORK, len(data.classes), variant=variant, norm_momentum=0.95, seed=1)
    for variable in network.trainable_variables:
        if variable.name == "rezero":
            variable.assign(tf.ones_like(variable))  # from 0, such a short training mostly switches layers on
    warm = steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps - warm, warmup_target=0.012, warmup_steps=warm)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=1.0)
    network.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    clip = NETWORK.clip
    shape = (BATCH, clip.frames, clip.resolution, clip.resolution, 3)
    signature = tf.TensorSpec(shape), tf.TensorSpec([BATCH], tf.int32)
    dataset = tf.data.Dataset.from_generator(lambda: batches(data, 0), output_signature=signature).prefetch(4)
    network.fit(dataset, steps_per_epoch=steps, shuffle=False, verbose=0)
    return network


def compared(network: keras.Model, variant: Variant, data: Dataset) -> dict[str, Result]:
    """Compare each kind of file with the Keras model on the test split."""
    clips, labels = pixels(data.test.clips), data.test.labels
    expected = network.predict(clips, batch_size=50, verbose=0).argmax(1)
    clip = NETWORK.clip
    subject = Subject("digits", network, clip, variant.causal, True)
    found = {"keras": Result(1.0, float(np.mean(expected == labels)), 4e-3 * network.count_params())}
    for quantize in QUANTIZATIONS:
        asked = Export(Path("digits.tflite"), "tflite", quantize, representative_count=CALIBRATED)
        content = litert_file(subject, asked, subject.shape(1, None, None))
        run = LiteRT(content)
        named = np.concatenate([run(clip[None]) for clip in clips]).argmax(1)
        agreement, accuracy = float(np.mean(named == expected)), float(np.mean(named == labels))
        found[quantize] = Result(agreement, accuracy, len(content) / 1e3)
    return found


def report(found: dict[str, dict[str, Result]], clips: int, steps: int) -> str:
    """Return a table and a description of its contents."""
    rows = [
        (name, form, f"{result.agreement:.2%}", f"{result.accuracy:.2%}", f"{result.kilobytes:.0f} kB")
        for name, results in found.items()
        for form, result in results.items()
    ]
    header = ("variant", "numbers", "top-1 as Keras", "top-1 accuracy", "file")
    about = (
        f"A network of {len(NETWORK.blocks)} blocks on clips of {NETWORK.clip.frames} frames of "
        f"{NETWORK.clip.resolution} x {NETWORK.clip.resolution} pixels, {steps} steps of {BATCH} clips; "
        f"{clips} test clips, ranges from {CALIBRATED} training clips. Streams run frame by frame."
    )
    return f"{section.machine()}\n\n{section.table(header, rows)}\n\n{about}"


def main() -> None:
    """Measure and print the table; with --write, put it into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--least", type=float, default=0.0, help="share of clips in which int8 has to agree")
    parser.add_argument("--write", action="store_true", help="put the table into docs")
    asked = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    data = moving_digits(DEFAULT)
    found = {name: compared(trained(variant, data, asked.steps), variant, data) for name, variant in VARIANTS.items()}
    text = report(found, len(data.test), asked.steps)
    print(text)
    if asked.write:
        section.write("int8", text)
    if (worst := min(results["int8"].agreement for results in found.values())) < asked.least:
        raise SystemExit(f"an int8 file agrees in {worst:.2%} of the clips, less than {asked.least:.2%}")


if __name__ == "__main__":
    main()
