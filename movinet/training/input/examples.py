"""Videos and frames of the numbered examples of a run.

Access is random: every epoch is a separate permutation, computed from the number of the example. So nothing is shuffled
in memory, and reading can start at any example.
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
BLOCK_BYTES = 1 << 26  # of clips read from a mapped file by one Python call
BLOCK = 64  # clips, at most


class Examples(Protocol):
    """Videos with labels."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label; empty if the source has none."""
        ...

    def name(self, index: int) -> str:
        """Return the name of a video for display."""
        ...

    def of(self, share: Share) -> tf.data.Dataset:
        """Return the dataset (number of the example, index of the video, frames uint8 `T H W 3`, label int32).

        It is endless in training; in evaluation it passes once over the videos in order.
        """
        ...


@dataclass(frozen=True)
class Share:
    """Examples of one of several input pipelines, from number `first` on: an equal part of every `batch`."""

    first: int
    batch: int
    pipelines: int = 1
    place: int = 0

    def __post_init__(self) -> None:
        if self.pipelines > 1 and (self.batch % self.pipelines or self.first % self.batch):
            rule = f"must be a multiple of the batch {self.batch}, and {self.pipelines} pipelines must divide the batch"
            raise InputError("first_example", self.first, rule)

    def numbers(self) -> tf.data.Dataset:
        """Return the endless dataset of its example numbers, int64."""
        own = self.batch // self.pipelines
        counted = tf.data.Dataset.range(self.first // self.pipelines, ENDLESS // self.pipelines)
        return counted.map(lambda m: m // own * self.batch + self.place * own + m % own)

    def taken_from(self, dataset: tf.data.Dataset, begins: int) -> tf.data.Dataset:
        """Return (number, element) of its elements in a dataset that starts at example number `begins`."""
        own = self.batch // self.pipelines
        numbered = dataset.skip(self.first - begins).enumerate(self.first)
        return numbered.filter(lambda n, _: n % self.batch // own == self.place) if self.pipelines > 1 else numbered


def frame_numbers(data: DataConfig, training: bool, count: Tensor, key: Tensor) -> Tensor:
    """Return numbers of an example's frames out of `count`: int32 `T`; in evaluation of all its clips."""
    loop, frames, stride = data.short_clip == "loop", data.feature_shape[0], data.temporal_stride
    if training:
        return augment.random_frames(count, frames, stride, data.random_stride_range, loop, key)
    return tf.reshape(augment.even_frames(count, frames, stride, data.num_test_clips, loop), [-1])


def frame_key(seed: int, number: Tensor) -> Tensor:
    """Return the seed, int64 `[2]`, of an example's choice of frames, independent of that of its augmentation."""
    return tf.random.fold_in(tf.stack([tf.constant(seed, tf.int64), number]), 1)


class SourceExamples:
    """Examples of a source with random access."""

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
            raise InputError(place, label, f"is not one of the labels 0 to {len(source.classes) - 1} of the data")
        unusable.update({item.file: item.reason for item in source.skipped})
        if not isinstance(source, ClipSource):
            self._check_usable()

    def name(self, index: int) -> str:
        """See `Examples`."""
        return self.source.name(index)

    def of(self, share: Share) -> tf.data.Dataset:
        """See `Examples`."""
        numbers = share.numbers()
        if not self._training:
            numbers = numbers.take_while(lambda n: n < len(self.source))
        placed = numbers.map(lambda n: (n, self._index(n)))
        return self._gathered(placed) if isinstance(self.source, ClipSource) else self._read(placed)

    def _index(self, n: Tensor) -> Tensor:
        """Return the video of example `n`: in training, position `n` in a sequence of shuffled epochs."""
        if not self._training:
            return n
        count = tf.constant(len(self.source), tf.int64)
        key = tf.stack([tf.constant(self._seed, tf.int64), n // count])
        return tf.random.experimental.index_shuffle(n % count, key, count - 1)

    def _gathered(self, placed: tf.data.Dataset) -> tf.data.Dataset:
        """Read many clips from a mapped file per call."""
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
        """Read video files, a few at a time."""

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
        """Return the first usable video from `index` on, and its number of frames; -1 and 1 if there is none."""
        for i in self._from(int(index)):
            try:
                return np.int64(i), np.int32(self.source.frames(i))
            except UnusableVideo as error:
                self._unusable[self.name(i)] = str(error)
        return np.int64(-1), np.int32(1)

    def _frames(self, index: np.int64, numbers: Integers) -> tuple[np.int64, Frames, np.int32]:
        """Return frames of the first usable video from `index` on, at the corresponding positions of a replacement."""
        for i in self._from(int(index)):
            try:
                own = numbers if i == index else numbers % self.source.frames(i)
                frames = self.source.read(i, own, self._data.min_image_size)
                return np.int64(i), frames, np.int32(self.source.labels[i])
            except UnusableVideo as error:
                self._unusable[self.name(i)] = str(error)
        return np.int64(-1), np.zeros((len(numbers), 1, 1, 3), np.uint8), np.int32(-1)

    def _from(self, index: int) -> Iterator[int]:
        """Yield `index`, and in training then all other videos in turn.

        Unusable videos are tried again: the content of an example must not depend on earlier reads.
        """
        if index >= 0:
            for step in range(len(self.source) if self._training else 1):
                yield (index + step) % len(self.source)

    def _check_usable(self) -> None:
        """Check that at least one video is usable; otherwise an epoch would yield nothing."""
        for i in range(len(self.source)):
            if self._frames(np.int64(i), np.zeros(1, np.int64))[0] == i:
                return
        name, why = next(iter(self._unusable.items()))
        place = f"{self._data.file_type} {self._data.input_path}"
        raise InputError(place, len(self.source), f"videos are all unusable; the first: {name} {why}")
