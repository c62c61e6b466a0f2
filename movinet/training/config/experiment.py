"""An experiment: network, clips and training. Fields and nesting are those of the TF Model Garden's YAML files.

Each key of the Model Garden's configuration classes (official/core/config_definitions.py,
official/vision/configs/video_classification.py, official/projects/movinet/configs/movinet.py) is a field below, or one
of `OTHER_KEYS`, which are ignored, or accepted only with the listed values. Fields marked "ours" are additions.
Defaults are those of the Model Garden's experiment `movinet_kinetics600`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from movinet.training.config.fields import Other
from movinet.training.config.model_config import ModelConfig
from movinet.training.config.trainer_config import Dtype, RuntimeConfig, TrainerConfig
from search_space.architecture import MAX_CHANNELS, MAX_FRAMES, MAX_RESOLUTION
from search_space.base.checks import check_pattern, check_shares
from search_space.base.configuration import configuration, within
from search_space.base.errors import InputError

FileType = Literal["tfrecord", "tfds", "video_folder", "video_csv", "moving_digits", "cached"]
Ratio = Annotated[float, within(1e-3, 1e3)]
Area = Annotated[float, within(1e-6, 1)]

_SPEED = Other("it affects only the speed of the Model Garden's input")
_SERVICE = Other("every worker of the service serves all data")
_LABEL = Other("only a label")


@configuration
class AutoAugment:
    """AutoAugment.

    Attributes:
      augmentation_name: policy.
      cutout_const: size in pixels of the square that cutout erases.
      translate_const: largest shift in pixels.
    """

    augmentation_name: str = "v0"
    cutout_const: float = 100.0
    translate_const: float = 250.0


@configuration
class RandAugment:
    """RandAugment.

    Attributes:
      num_layers: operations applied to a clip.
      magnitude: strength of the operations, 0 to 10.
      cutout_const: size in pixels of the square that cutout erases.
      translate_const: largest shift in pixels.
      magnitude_std: standard deviation of the strength.
      prob_to_apply: probability of each operation; null applies all.
      exclude_ops: excluded operations.
    """

    num_layers: Annotated[int, within(0, 100)] = 2
    magnitude: float = 10.0
    cutout_const: float = 40.0
    translate_const: float = 10.0
    magnitude_std: float = 0.0
    prob_to_apply: Annotated[float, within(0, 1)] | None = None
    exclude_ops: tuple[str, ...] = ()


@configuration
class Augmentation:
    """Augmentation of training clips; its type alone, as a text, stands for that type with its defaults.

    Attributes:
      type: section that counts.
      autoaug: settings of AutoAugment.
      randaug: settings of RandAugment.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "ssd_random_crop": Other("the augmentations are autoaug and randaug", ({}, None)),
    }
    type: Literal["autoaug", "randaug"] = "autoaug"
    autoaug: AutoAugment = field(default_factory=AutoAugment)
    randaug: RandAugment = field(default_factory=RandAugment)

    @staticmethod
    def spelled_out(given: Any) -> Any:
        """Expand the text `autoaug` to that type with its defaults."""
        return {"type": given} if isinstance(given, str) else given


@configuration
class DataConfig:
    """Source of the clips, and how they are cut out of videos.

    Attributes:
      input_path: files of records (patterns; several separated by commas or as a list); ours: the folder or CSV file
        of other file types, the level (tiny, default) of moving_digits.
      file_type: form of the source; all but tfrecord and tfds are ours.
      tfds_name: name of a TensorFlow Datasets set.
      tfds_split: its split.
      tfds_data_dir: its folder; '' takes that of TensorFlow Datasets.
      split: train, valid (or validation) or test, of sources that have several.
      is_training: true for training data, false for evaluation data.
      global_batch_size: clips per step on all devices together.
      drop_remainder: drops an incomplete last batch.
      shuffle_buffer_size: size of the shuffle buffer in examples; 0 keeps their order.
      seed: seed of order and augmentation; null takes that of the trainer.
      feature_shape: frames, height, width and channels of a clip.
      temporal_stride: distance in source frames between frames of the clip.
      random_stride_range: in training the stride is drawn from temporal_stride - this (at least 1) to
        temporal_stride + this - 1.
      num_test_clips: clips per video whose probabilities are averaged in evaluation.
      num_test_crops: crops per clip whose probabilities are averaged in evaluation.
      num_classes: number of classes.
      num_examples: number of clips; -1 uses all. Ours: number of clips to make of moving_digits.
      dtype: type of the pixels.
      one_hot: gives labels as vectors; must be that of the losses.
      min_image_size: pixels of the short side before the centre crop of evaluation.
      zero_centering_image: scales pixels to -1 to 1 in place of 0 to 1.
      aug_min_aspect_ratio: least aspect ratio of a random crop.
      aug_max_aspect_ratio: largest aspect ratio of a random crop.
      aug_min_area_ratio: least area of a random crop, as a fraction of the frame.
      aug_max_area_ratio: largest area of a random crop, as a fraction of the frame.
      aug_random_rotation: turns training clips by 0, 90, 180 or 270 degrees.
      aug_flip: ours; mirrors every second training clip, as the Model Garden always does. Not for classes that
        distinguish left from right.
      aug_type: further augmentation; null has none.
      enable_tf_data_service: reads records through a tf.data service.
      tf_data_service_address: address of the tf.data service.
      image_field_key: field of a record that holds its frames.
      label_field_key: field of a record that holds its label.
      input_image_format: encoding of the frames in records.
      video_root: ours; folder that the file column of a video_csv is relative to.
      target_fps: ours; frames per second that `temporal_stride` counts; null takes those of the source.
      short_clip: ours; how a too short clip is filled: loop starts again, pad repeats the last frame.
      cache_dir: ours; folder to keep decoded videos in; '' keeps none.
      split_shares: ours; shares of each class's videos for validation and test, where neither folders nor a video_csv
        name the splits; null takes 0.15 and 0.15 of a folder, and does not divide a list.
      group_pattern: ours; regular expression for the names of files; videos in whose names it finds the same text are
        in one split. If it has a part in parentheses, the text of that part counts.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "name": _LABEL,
        "variant_name": _LABEL,
        "trainer_id": _LABEL,
        "data_format": Other("clips are channels_last", ("channels_last",)),
        "label_dtype": Other("labels are integers"),
        "cache": Other("cache_dir keeps decoded videos; the Model Garden would cache clips with a fixed augmentation"),
        "compressed_input": Other("compressed records are not supported", (False,)),
        "is_multilabel": Other("a clip has one label", (False,)),
        "output_audio": Other("there is no sound", (False,)),
        "audio_feature": Other("there is no sound"),
        "audio_feature_shape": Other("there is no sound"),
        "mixup_and_cutmix": Other("clips are not mixed", (None,)),
        "tfds_as_supervised": Other("datasets are read by tfds_name", (False,)),
        "tfds_skip_decoding_feature": Other("only the frames of the clip are decoded"),
        "cycle_length": _SPEED,
        "block_length": _SPEED,
        "ram_budget": _SPEED,
        "deterministic": Other("it is always on"),
        "sharding": _SPEED,
        "prefetch_buffer_size": _SPEED,
        "autotune_algorithm": _SPEED,
        "tf_data_service_job_name": _SERVICE,
        "enable_shared_tf_data_service_between_parallel_trainers": _SERVICE,
        "apply_tf_data_service_before_batching": _SERVICE,
    }
    input_path: str | tuple[str, ...] = ""
    file_type: FileType = "tfrecord"
    tfds_name: str = ""
    tfds_split: str = ""
    tfds_data_dir: str = ""
    split: str = "train"
    is_training: bool = True
    global_batch_size: Annotated[int, within(1, 2**20)] = 128
    drop_remainder: bool = True
    shuffle_buffer_size: Annotated[int, within(0, 2**20)] = 64
    seed: Annotated[int, within(0, 2**31 - 1)] | None = None
    feature_shape: tuple[int, ...] = (64, 224, 224, 3)
    temporal_stride: Annotated[int, within(1, 2**20)] = 1
    random_stride_range: Annotated[int, within(0, 2**20)] = 0
    num_test_clips: Annotated[int, within(1, 2**20)] = 1
    num_test_crops: Literal[1, 3] = 1
    num_classes: Annotated[int, within(1, MAX_CHANNELS)] = 600
    num_examples: Annotated[int, within(-1, 2**40)] = -1
    dtype: Dtype = "float32"
    one_hot: bool = True
    min_image_size: Annotated[int, within(1, MAX_RESOLUTION)] = 256
    zero_centering_image: bool = False
    aug_min_aspect_ratio: Ratio = 0.5
    aug_max_aspect_ratio: Ratio = 2.0
    aug_min_area_ratio: Area = 0.49
    aug_max_area_ratio: Area = 1.0
    aug_random_rotation: bool = False
    aug_flip: bool = True
    aug_type: Augmentation | None = None
    enable_tf_data_service: bool = False
    tf_data_service_address: str | None = None
    image_field_key: str = "image/encoded"
    label_field_key: str = "clip/label/index"
    input_image_format: Literal["jpeg", "png", "none"] = "jpeg"
    video_root: str = ""
    target_fps: Ratio | None = None
    short_clip: Literal["loop", "pad"] = "loop"
    cache_dir: str = ""
    split_shares: tuple[float, float] | None = None
    group_pattern: str = ""

    def __post_init__(self) -> None:
        if self.split_shares is not None:
            check_shares("split_shares", self.split_shares)
        check_pattern("group_pattern", self.group_pattern)
        self._check_shape()
        for name in ("aspect", "area"):
            least, most = getattr(self, f"aug_min_{name}_ratio"), getattr(self, f"aug_max_{name}_ratio")
            if least > most:
                raise InputError(f"aug_min_{name}_ratio", least, f"must be at most aug_max_{name}_ratio, {most:g}")

    def _check_shape(self) -> None:
        shape = self.feature_shape
        rule = f"must be frames (up to {MAX_FRAMES}), height, width (up to {MAX_RESOLUTION}) and 3 channels"
        if len(shape) != 4 or shape[3] != 3 or min(shape) < 1 or shape[0] > MAX_FRAMES or max(shape) > MAX_FRAMES:
            raise InputError("feature_shape", shape, rule)
        if max(shape[1:3]) > MAX_RESOLUTION:
            raise InputError("feature_shape", shape, rule)
        if not self.is_training and self.min_image_size < min(shape[1:3]):
            raise InputError("min_image_size", self.min_image_size, f"must be at least the crop's, {min(shape[1:3])}")


@configuration
class Losses:
    """Cross entropy with label smoothing, plus `l2_weight_decay`/2 times the squares of all kernels but the last.

    With `one_hot` false label smoothing is ignored, as in the Model Garden.

    Attributes:
      one_hot: takes labels as vectors.
      label_smoothing: fraction of the label that is spread over all classes.
      l2_weight_decay: weight of the squares.
    """

    one_hot: bool = True
    label_smoothing: Annotated[float, within(0, 1)] = 0.0
    l2_weight_decay: Annotated[float, within(0, 1e6)] = 1e-4


@configuration
class TaskConfig:
    """Network, data and losses.

    Attributes:
      model: network to train.
      train_data: training clips.
      validation_data: clips of evaluations.
      losses: loss and regularisation.
      init_checkpoint: weights to start from: a folder or a checkpoint, of this project or of the Model Garden.
      init_checkpoint_modules: weights to load from it; the backbone is all but the dense layers after the pool.
      freeze_backbone: trains only the dense layers after the pool.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "name": _LABEL,
        "metrics": Other("accuracy per class is always written"),
        "allow_image_summary": Other("summaries contain only numbers", (False,)),
        "differential_privacy_config": Other("differential privacy is not supported", (None,)),
        "train_input_partition_dims": Other("a clip is not split over devices", (None,)),
        "eval_input_partition_dims": Other("a clip is not split over devices", (None,)),
    }
    model: ModelConfig = field(default_factory=ModelConfig)
    train_data: DataConfig = field(default_factory=lambda: DataConfig(global_batch_size=1024, dtype="bfloat16"))
    validation_data: DataConfig = field(
        default_factory=lambda: DataConfig(
            split="valid",
            is_training=False,
            drop_remainder=False,
            global_batch_size=64,
            dtype="bfloat16",
            feature_shape=(250, 224, 224, 3),
        )
    )
    losses: Losses = field(default_factory=Losses)
    init_checkpoint: str | None = None
    init_checkpoint_modules: Literal["all", "backbone"] = "all"
    freeze_backbone: bool = False

    def __post_init__(self) -> None:
        classes = self.train_data.num_classes
        for name, training in (("train_data", True), ("validation_data", False)):
            if getattr(self, name).is_training != training:
                raise InputError(f"{name}.is_training", not training, f"must be {str(training).lower()}")
        if self.model.num_classes is not None and self.model.num_classes != self.validation_data.num_classes:
            rule = f"must be the classes of the data, {self.validation_data.num_classes}"
            raise InputError("model.num_classes", self.model.num_classes, rule)
        if self.model.ensemble is None and classes != self.validation_data.num_classes:
            rule = f"must be those of train_data, {classes}"
            raise InputError("validation_data.num_classes", self.validation_data.num_classes, rule)
        for name in ("train_data", "validation_data"):
            one_hot = getattr(self, name).one_hot
            if one_hot != self.losses.one_hot:
                raise InputError(f"{name}.one_hot", one_hot, f"must be that of losses, {self.losses.one_hot}")


@configuration
class ExperimentConfig:
    """Configuration of a training experiment.

    Attributes:
      task: network, data and losses.
      trainer: length of the training, optimizer and checkpoints.
      runtime: devices and precision.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
