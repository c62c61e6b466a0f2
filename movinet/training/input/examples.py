"""Videos by the number of an example in a run: which one it is, and which of its frames.

Random access: every epoch is a permutation of its own, made by the index of the example, so nothing is shuffled in
memory and any example can be the first.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from movinet.data.video.source import ClipSource, Source
from movinet.data.video.timeline import UnusableVideo
from movinet.training.config.experiment import DataConfig
from movinet.training.input import augment
from search_space.base.errors import InputError

Tensor = Any
Integers = npt.NDArray[np.int64]
Frames = npt.NDArray[np.uint8]
Unusable = MutableMapping[str, str]

ENDLESS = 1 << 62
BLOCK_BYTES = 1 << 26  # of clips gathered from a mapped file by one call of Python
BLOCK = 64  # clips, at most


class Examples(Protocol):
    """Videos with labels."""

    @property
    def classes(self) -> tuple[str, ...]:
        """By label; empty if nothing names them."""
        ...

    def name(self, index: int) -> str:
        """Of a video, to show."""
        ...

    def of(self, share: Share) -> tf.data.Dataset:
        """(number of the example, index of the video, its chosen frames uint8 `T H W 3`, label int32) of this share.

        In training without end; else videos in order, until there are no more.
        """
        ...


@dataclass(frozen=True)
class Share:
    """The examples of one of several input pipelines, from number `first` on: of every `batch` an equal part."""

    first: int
    batch: int
    pipelines: int = 1
    place: int = 0

    def __post_init__(self) -> None:
        if self.pipelines > 1 and (self.batch % self.pipelines or self.first % self.batch):
            rule = f"must begin a batch of {self.batch}, which {self.pipelines} pipelines must divide"
            raise InputError("first_example", self.first, rule)

    def numbers(self) -> tf.data.Dataset:
        """Of its examples, int64, without end."""
        own = self.batch // self.pipelines
        counted = tf.data.Dataset.range(self.first // self.pipelines, ENDLESS // self.pipelines)
        return counted.map(lambda m: m // own * self.batch + self.place * own + m % own)

    def taken_from(self, dataset: tf.data.Dataset, begins: int) -> tf.data.Dataset:
        """(number, element) of its elements of a dataset that begins with example number `begins`."""
        own = self.batch // self.pipelines
        numbered = dataset.skip(self.first - begins).enumerate(self.first)
        return numbered.filter(lambda n, _: n % self.batch // own == self.place) if self.pipelines > 1 else numbered


def frame_numbers(data: DataConfig, training: bool, count: Tensor, key: Tensor) -> Tensor:
    """Which of `count` frames an example shows: int32 `T`, in evaluation of all its clips one after another."""
    loop, frames, stride = data.short_clip == "loop", data.feature_shape[0], data.temporal_stride
    if training:
        return augment.random_frames(count, frames, stride, data.random_stride_range, loop, key)
    return tf.reshape(augment.even_frames(count, frames, stride, data.num_test_clips, loop), [-1])


def frame_key(seed: int, number: Tensor) -> Tensor:
    """The seed, int64 `[2]`, of an example's frames, apart from that of their changes."""
    return tf.random.fold_in(tf.stack([tf.constant(seed, tf.int64), number]), 1)


class SourceExamples:
    """The examples of a source with random access."""

    def __init__(
        self, source: Source, data: DataConfig, training: bool, seed: int, threads: int, unusable: Unusable
    ) -> None:
        self.source, self.classes = source, source.classes
        self._data, self._training, self._seed, self._threads, self._unusable = data, training, seed, threads, unusable
        if len(source.classes) > data.num_classes:
            raise InputError("num_classes", data.num_classes, f"must be those of the data, {len(source.classes)}")
        wrong = np.flatnonzero((source.labels < 0) | (source.labels >= len(source.classes)))
        if len(wrong):
            place, label = source.name(int(wrong[0])), int(source.labels[wrong[0]])
            raise InputError(place, label, f"is not a label of the {len(source.classes)} classes of the data")
        unusable.update({item.file: item.reason for item in source.skipped})
        if not isinstance(source, ClipSource):
            self._check_usable()

    def name(self, index: int) -> str:
        """As of `Examples`."""
        return self.source.name(index)

    def of(self, share: Share) -> tf.data.Dataset:
        """As of `Examples`."""
        numbers = share.numbers()
        if not self._training:
            numbers = numbers.take_while(lambda n: n < len(self.source))
        placed = numbers.map(lambda n: (n, self._index(n)))
        return self._gathered(placed) if isinstance(self.source, ClipSource) else self._read(placed)

    def _index(self, n: Tensor) -> Tensor:
        """Which video example `n` is: in training, place `n` of epochs that are each shuffled anew."""
        if not self._training:
            return n
        count = tf.constant(len(self.source), tf.int64)
        key = tf.stack([tf.constant(self._seed, tf.int64), n // count])
        return tf.random.experimental.index_shuffle(n % count, key, count - 1)

    def _gathered(self, placed: tf.data.Dataset) -> tf.data.Dataset:
        """From a mapped file, many clips by one call."""
        assert isinstance(self.source, ClipSource)
        split = getattr(self.source.dataset, self.source.split)
        clips, labels = np.asarray(split.clips), np.asarray(split.labels)

        def planned(n: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return n, index, frame_numbers(self._data, self._training, clips.shape[1], frame_key(self._seed, n))

        def gather(indices: Integers, frames: Integers) -> tuple[Frames, npt.NDArray[np.int32]]:
            return clips[indices[:, None], frames], labels[indices]

        def read(n: Tensor, index: Tensor, frames: Tensor) -> tuple[Tensor, ...]:
            pictures, own = tf.numpy_function(gather, [index, frames], (tf.uint8, tf.int32))
            pictures.set_shape([None, frames.shape[1], *clips.shape[2:]])
            own.set_shape([None])
            return n, index, pictures, own

        block = max(1, min(BLOCK, BLOCK_BYTES // clips[0].nbytes))
        return placed.map(planned).batch(block).map(read).unbatch()

    def _read(self, placed: tf.data.Dataset) -> tf.data.Dataset:
        """From video files, a few at a time."""

        def read(n: Tensor, index: Tensor) -> tuple[Tensor, ...]:
            index, count = tf.numpy_function(self._count, [index], (tf.int64, tf.int32))
            count.set_shape([])
            wanted = frame_numbers(self._data, self._training, count, frame_key(self._seed, n))
            index, frames, label = tf.numpy_function(self._frames, [index, wanted], (tf.int64, tf.uint8, tf.int32))
            index.set_shape([])
            label.set_shape([])
            frames.set_shape([wanted.shape[0], None, None, 3])
            return n, index, frames, label

        examples = placed.map(read, num_parallel_calls=self._threads)
        return examples.filter(lambda n, index, frames, label: index >= 0)

    def _count(self, index: np.int64) -> tuple[np.int64, np.int32]:
        """The first usable video from `index` on, and its frames; -1 and 1 if there is none."""
        for i in self._from(int(index)):
            try:
                return np.int64(i), np.int32(self.source.frames(i))
            except UnusableVideo as error:
                self._unusable[self.name(i)] = str(error)
        return np.int64(-1), np.int32(1)

    def _frames(self, index: np.int64, numbers: Integers) -> tuple[np.int64, Frames, np.int32]:
        """The frames of the first usable video from `index` on; of another one those that take their places."""
        for i in self._from(int(index)):
            try:
                own = numbers if i == index else numbers % self.source.frames(i)
                frames = self.source.read(i, own, self._data.min_image_size)
                return np.int64(i), frames, np.int32(self.source.labels[i])
            except UnusableVideo as error:
                self._unusable[self.name(i)] = str(error)
        return np.int64(-1), np.zeros((len(numbers), 1, 1, 3), np.uint8), np.int32(-1)

    def _from(self, index: int) -> Iterator[int]:
        """`index`, and in training then all others in turn.

        Those found unusable are tried again: what an example shows must not depend on what was read before it.
        """
        if index >= 0:
            for step in range(len(self.source) if self._training else 1):
                yield (index + step) % len(self.source)

    def _check_usable(self) -> None:
        """At least one video must be usable, so that no epoch yields nothing."""
        for i in range(len(self.source)):
            if self._frames(np.int64(i), np.zeros(1, np.int64))[0] == i:
                return
        name, why = next(iter(self._unusable.items()))
        place = f"{self._data.file_type} {self._data.input_path}"
        raise InputError(place, len(self.source), f"videos are all unusable; the first: {name} {why}")
