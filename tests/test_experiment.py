"""Test experiments: every Model Garden key is a field, ignored, or refused with a reason; bad ones give one line."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
import yaml

from movinet.training.config.experiment import Augmentation, DataConfig, ExperimentConfig
from movinet.training.config.experiment_file import PRESETS, dump, load, notes, parse_override
from movinet.training.config.fields import field_types, other_keys
from movinet.training.config.model_config import MovinetConfig
from search_space.architecture import Clip
from search_space.base.errors import InputError
from search_space.network import load as load_network
from search_space.published import PUBLISHED

NAME = "movinet_kinetics600"
CONFIGS = Path(__file__).parents[1] / "results" / "published" / "frontier" / "configs"

# Model, frames in training and evaluation, pixels of the clip and of the short side before the crop, frame stride.
RELEASED = {
    "a0": (50, 50, 172, 192, 5),
    "a1": (50, 50, 172, 192, 5),
    "a2": (50, 50, 224, 256, 5),
    "a3": (64, 120, 256, 288, 2),
    "a4": (32, 80, 290, 320, 3),
    "a5": (32, 120, 320, 368, 2),
    "t0": (25, 25, 160, 176, 10),
}
SHAPE = "!!python/tuple\n    - {}\n    - {}\n    - {}\n    - 3"


def released(model: str, form: str) -> str:
    """Return YAML in a Model Garden form: `k600_8x8` for TPUs, `gpu`, both for streams, or `cpu_local` for a try."""
    train, valid, size, side, stride = RELEASED[model]
    gpu, stream, local = "gpu" in form, "stream" in form, form == "cpu_local"
    train, valid = (4, 4) if local else (32, 32) if gpu else (train, valid)
    dtype = "float32" if local else "bfloat16"
    strategy = "mirrored" if local else "multi_worker_mirrored" if gpu else "tpu"
    streaming = """
        causal: true
        # a comment
        conv_type: '3d_2plus1d'
        se_type: '2plus3d'
        activation: 'hard_swish'
        gating_activation: 'hard_sigmoid'
        use_positional_encoding: true"""
    losses = "" if local else "\n  losses:\n    l2_weight_decay: 0.00003\n    label_smoothing: 0.1"
    batch, more = ("", "") if gpu else ("\n    global_batch_size: 1024", "\n    shuffle_buffer_size: 1024")
    return f"""# Video classification using MoViNet-{model.upper()}.
runtime:
  distribution_strategy: '{strategy}'
  mixed_precision_dtype: '{dtype}'
task:{losses}
  model:
    backbone:
      movinet:
        model_id: '{model}'{streaming if stream else ""}
        stochastic_depth_drop_rate: 0.2
    norm_activation:
      use_sync_bn: true
    dropout_rate: 0.5{
        ""
        if model == "a3"
        else f'''
    activation: '{"hard_swish" if stream else "swish"}' '''
    }
  train_data:
    name: kinetics600
    variant_name: rgb
    feature_shape: {SHAPE.format(train, size, size)}
    temporal_stride: {stride}
    random_stride_range: 1{batch}
    dtype: '{dtype}'{more}
    min_image_size: {side}
    aug_max_area_ratio: 1.0
    aug_max_aspect_ratio: 2.0
    aug_min_area_ratio: 0.08
    aug_min_aspect_ratio: 0.5{
        ""
        if gpu or stream
        else '''
    aug_type: 'autoaug' '''
    }
  validation_data:
    name: kinetics600
    feature_shape: {SHAPE.format(valid, size, size)}
    temporal_stride: {stride}
    num_test_clips: 1
    num_test_crops: 1
    min_image_size: {side}
    dtype: '{dtype}'
    drop_remainder: false
trainer:
  optimizer_config:
    learning_rate:
      cosine:
        initial_learning_rate: 1.8
        decay_steps: 85785
    warmup:
      linear:
        warmup_steps: {300 if gpu else 2145}
    optimizer:
      type: 'rmsprop'
      rmsprop:
        rho: 0.9
        momentum: 0.9
        epsilon: 1.0
        clipnorm: 1.0
  train_steps: 85785
  steps_per_loop: 500
  summary_interval: 500
  validation_interval: 500
"""


FORMS = ("k600_8x8", "stream_k600_8x8", "gpu", "stream_gpu")
FILES = [(model, form) for model in RELEASED for form in FORMS if model != "t0" or "gpu" not in form]
FILES.append(("a0", "cpu_local"))


def read(tmp_path: Path, text: str, override: str = "") -> ExperimentConfig:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return load(NAME, [path], override)[0]


def test_there_are_as_many_files_as_in_the_release() -> None:
    assert len(FILES) == 27


@pytest.mark.parametrize(("model", "form"), FILES)
def test_the_releases_files_are_read(tmp_path: Path, model: str, form: str) -> None:
    text = released(model, form)
    experiment = read(tmp_path, text)
    task, trainer = experiment.task, experiment.trainer
    train, valid, size, side, stride = RELEASED[model]
    if "gpu" not in form and form != "cpu_local":
        assert (task.train_data.feature_shape, task.validation_data.feature_shape) == (
            (train, size, size, 3),
            (valid, size, size, 3),
        )
    assert task.train_data.temporal_stride == stride and task.train_data.min_image_size == side
    assert task.model.backbone.movinet.architecture(PUBLISHED[model].clip) == PUBLISHED[model]
    assert task.model.backbone.movinet.variant().causal == ("stream" in form)
    assert task.model.activation == ("hard_swish" if "stream" in form and model != "a3" else "swish")
    assert trainer.optimizer_config.optimizer.rmsprop.epsilon == 1.0
    assert trainer.optimizer_config.learning_rate.type == "cosine"
    assert trainer.optimizer_config.warmup.linear.warmup_steps == (300 if "gpu" in form else 2145)
    assert bool(task.train_data.aug_type) == (form in ("k600_8x8", "cpu_local"))
    # Defaults are those of the Model Garden experiment: an epoch of 357 steps, batches of 1024 and 64.
    assert task.train_data.global_batch_size == 1024 and task.validation_data.global_batch_size == 64
    assert trainer.checkpoint_interval == 357 and task.validation_data.split == "valid"


# Keys of the Model Garden classes with their defaults; s(upported), i(gnored), or r(efused unless the default).
DATA_KEYS = {
    "input_path": ("", "s"), "tfds_name": ("", "s"), "tfds_split": ("", "s"), "tfds_data_dir": ("", "s"),
    "global_batch_size": (128, "s"), "is_training": (True, "s"), "drop_remainder": (True, "s"),
    "shuffle_buffer_size": (64, "s"), "cache": (False, "i"), "cycle_length": (10, "i"), "block_length": (1, "i"),
    "ram_budget": (None, "i"), "deterministic": (None, "i"), "sharding": (True, "i"),
    "enable_tf_data_service": (False, "s"), "tf_data_service_address": (None, "s"),
    "tf_data_service_job_name": (None, "i"), "tfds_as_supervised": (False, "r"),
    "tfds_skip_decoding_feature": ("", "i"),
    "enable_shared_tf_data_service_between_parallel_trainers": (False, "i"),
    "apply_tf_data_service_before_batching": (False, "i"), "trainer_id": (None, "i"), "seed": (None, "s"),
    "prefetch_buffer_size": (None, "i"), "autotune_algorithm": (None, "i"), "name": (None, "i"),
    "file_type": ("tfrecord", "s"), "compressed_input": (False, "r"), "split": ("train", "s"),
    "variant_name": (None, "i"), "feature_shape": ([64, 224, 224, 3], "s"), "temporal_stride": (1, "s"),
    "random_stride_range": (0, "s"), "num_test_clips": (1, "s"), "num_test_crops": (1, "s"), "num_classes": (600, "s"),
    "num_examples": (-1, "s"), "data_format": ("channels_last", "r"), "dtype": ("float32", "s"),
    "label_dtype": ("int32", "i"), "one_hot": (True, "s"), "min_image_size": (256, "s"),
    "zero_centering_image": (False, "s"), "is_multilabel": (False, "r"), "output_audio": (False, "r"),
    "audio_feature": ("", "i"), "audio_feature_shape": ([-1], "i"), "aug_min_aspect_ratio": (0.5, "s"),
    "aug_max_aspect_ratio": (2.0, "s"), "aug_min_area_ratio": (0.49, "s"), "aug_max_area_ratio": (1.0, "s"),
    "aug_random_rotation": (False, "s"), "aug_type": (None, "s"), "mixup_and_cutmix": (None, "r"),
    "image_field_key": ("image/encoded", "s"), "label_field_key": ("clip/label/index", "s"),
    "input_image_format": ("jpeg", "s"),
}  # fmt: skip
KEYS = {
    "runtime": {
        "distribution_strategy": ("mirrored", "s"), "enable_xla": (False, "i"), "gpu_thread_mode": (None, "i"),
        "dataset_num_private_threads": (None, "i"), "per_gpu_thread_count": (0, "i"), "tpu": (None, "s"),
        "num_gpus": (0, "s"), "worker_hosts": (None, "s"), "task_index": (-1, "s"), "all_reduce_alg": (None, "i"),
        "num_packs": (1, "i"), "mixed_precision_dtype": ("bfloat16", "s"), "loss_scale": (None, "s"),
        "run_eagerly": (False, "i"), "batchnorm_spatial_persistent": (False, "i"),
        "tpu_enable_xla_dynamic_padder": (None, "i"), "num_cores_per_replica": (1, "r"), "default_shard_dim": (-1, "r"),
        "use_tpu_mp_strategy": (False, "r"),
    },
    "trainer": {
        "train_tf_while_loop": (True, "i"), "train_tf_function": (True, "i"), "eval_tf_function": (True, "i"),
        "eval_tf_while_loop": (False, "i"), "allow_tpu_summary": (False, "i"), "steps_per_loop": (357, "s"),
        "summary_interval": (357, "s"), "checkpoint_interval": (357, "s"), "max_to_keep": (5, "s"),
        "continuous_eval_timeout": (3600, "s"), "train_steps": (15708, "s"), "validation_steps": (-1, "s"),
        "validation_interval": (357, "s"), "best_checkpoint_export_subdir": ("", "s"),
        "best_checkpoint_eval_metric": ("", "s"), "best_checkpoint_metric_comp": ("higher", "s"),
        "loss_upper_bound": (1e6, "s"), "recovery_begin_steps": (0, "s"), "recovery_max_trials": (0, "r"),
        "validation_summary_subdir": ("validation", "s"), "preemption_on_demand_checkpoint": (True, "s"),
    },
    "trainer.optimizer_config": {"ema": (None, "s")},
    "trainer.optimizer_config.optimizer": {
        "type": ("sgd", "s"),
        **{name: ({}, "s") for name in ("sgd", "rmsprop", "adam", "adamw")},
        **{name: ({}, "r") for name in (
            "sgd_experimental", "adam_experimental", "adamw_experimental", "lamb", "lars", "adagrad", "slide",
            "adafactor", "adafactor_keras",
        )},
    },
    "trainer.optimizer_config.optimizer.sgd": {
        "name": ("SGD", "i"), "decay": (0.0, "r"), "nesterov": (True, "s"), "momentum": (0.9, "s"),
        "clipnorm": (None, "s"), "clipvalue": (None, "s"), "global_clipnorm": (None, "s"),
    },
    "trainer.optimizer_config.optimizer.rmsprop": {
        "name": ("RMSprop", "i"), "rho": (0.9, "s"), "momentum": (0.0, "s"), "epsilon": (1e-7, "s"),
        "centered": (False, "s"),
    },
    "trainer.optimizer_config.optimizer.adamw": {
        "beta_1": (0.9, "s"), "beta_2": (0.999, "s"), "epsilon": (1e-7, "s"), "amsgrad": (False, "s"),
        "weight_decay_rate": (0.0, "s"), "include_in_weight_decay": (None, "s"),
        "exclude_from_weight_decay": (None, "s"), "gradient_clip_norm": (1.0, "s"),
    },
    "trainer.optimizer_config.learning_rate": {
        "type": ("cosine", "s"),
        **{name: ({}, "s") for name in ("constant", "stepwise", "exponential", "polynomial", "cosine")},
        **{name: ({}, "r") for name in ("power", "power_linear", "power_with_offset", "step_cosine_with_offset")},
    },
    "trainer.optimizer_config.learning_rate.cosine": {
        "name": ("CosineDecay", "i"), "initial_learning_rate": (1.6, "s"), "decay_steps": (15708, "s"),
        "alpha": (0.0, "s"), "offset": (0, "s"),
    },
    "trainer.optimizer_config.warmup": {"type": ("linear", "s"), "linear": ({}, "s"), "polynomial": ({}, "s")},
    "trainer.optimizer_config.warmup.linear": {
        "name": ("linear", "i"), "warmup_learning_rate": (0, "s"), "warmup_steps": (1785, "s"),
    },
    "task": {
        "init_checkpoint": (None, "s"), "init_checkpoint_modules": ("all", "s"), "freeze_backbone": (False, "s"),
        "name": (None, "i"), "differential_privacy_config": (None, "r"), "allow_image_summary": (False, "r"),
        "metrics": ({"use_per_class_recall": False}, "i"), "train_input_partition_dims": (None, "r"),
        "eval_input_partition_dims": (None, "r"),
    },
    "task.losses": {"one_hot": (True, "s"), "label_smoothing": (0.0, "s"), "l2_weight_decay": (0.0001, "s")},
    "task.model": {
        "model_type": ("movinet", "s"), "activation": ("swish", "s"), "dropout_rate": (0.2, "s"),
        "aggregate_endpoints": (False, "r"), "require_endpoints": (None, "r"), "output_states": (False, "r"),
    },
    "task.model.norm_activation": {
        "activation": (None, "i"), "use_sync_bn": (True, "s"), "norm_momentum": (0.99, "s"),
        "norm_epsilon": (0.001, "r"),
    },
    "task.model.backbone": {"type": ("movinet", "s"), "resnet_3d": ({}, "r"), "resnet_3d_rs": ({}, "r")},
    "task.model.backbone.movinet": {
        "model_id": ("a0", "s"), "causal": (False, "s"), "use_positional_encoding": (False, "s"),
        "conv_type": ("3d", "s"), "se_type": ("3d", "s"), "activation": ("swish", "s"),
        "gating_activation": ("sigmoid", "s"), "stochastic_depth_drop_rate": (0.2, "s"),
        "use_external_states": (False, "r"), "average_pooling_type": ("3d", "r"), "output_states": (True, "i"),
    },
    "task.train_data": DATA_KEYS,
    "task.validation_data": DATA_KEYS | {"is_training": (False, "s"), "split": ("valid", "s")},
}  # fmt: skip


def nested(place: str, values: dict) -> dict:
    for name in reversed(place.split(".")):
        values = {name: values}
    return values


@pytest.mark.parametrize("place", KEYS)
def test_every_key_of_the_release_is_known(place: str) -> None:
    """Model Garden defaults are accepted; ignored keys are named; other values of refused keys are refused."""
    defaults = {key: value for key, (value, _) in KEYS[place].items()}
    _, ignored = load(NAME, [], json.dumps(nested(place, defaults)))
    expected = {f"--params_override: {place}.{key}" for key, (_, what) in KEYS[place].items() if what == "i"}
    assert {each.place for each in ignored} == expected
    for key, (value, what) in KEYS[place].items():
        if what == "r":
            other = {"type": "x"} if value in (None, {}) else "channels_first" if isinstance(value, str) else 7
            with pytest.raises(InputError, match="is not supported") as caught:
                load(NAME, [], json.dumps(nested(place, {key: other})))
            assert f"{place}.{key}" in str(caught.value) and "\n" not in str(caught.value)


def test_no_key_is_both_a_field_and_not() -> None:
    kinds, seen = [ExperimentConfig], []
    while kinds:
        kind = kinds.pop()
        seen.append(kind)
        assert not set(field_types(kind)) & set(other_keys(kind)), kind
        kinds += [
            each
            for each in field_types(kind).values()
            if isinstance(each, type) and hasattr(each, "__dataclass_fields__")
        ]
    assert len(seen) > 15


@pytest.mark.parametrize("name", [f"movinet_a{i}" for i in range(7)])
def test_emitted_experiments_are_the_networks_beside_them(name: str) -> None:
    experiment, ignored = load(NAME, [CONFIGS / f"{name}.experiment.yaml"])
    assert {each.why for each in ignored} == {"only a label"}
    networks = load_network(CONFIGS / f"{name}.yaml").members
    if name == "movinet_a6":
        members = experiment.task.model.ensemble.members
        assert [load_network(member.network).members[0] for member in members] == list(networks)
        return
    data = experiment.task.validation_data
    clip = Clip(data.feature_shape[0], data.feature_shape[1], data.temporal_stride)
    assert experiment.task.model.backbone.movinet.architecture(clip) == networks[0]


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_presets_are_experiments(preset: str) -> None:
    assert load(NAME, [preset])[0].task.train_data.file_type == "moving_digits"


def test_what_is_dumped_is_read_back(tmp_path: Path) -> None:
    for path in sorted(CONFIGS.glob("*.experiment.yaml")):
        experiment = load(NAME, [path], "task.train_data.aug_type=randaug,trainer.optimizer_config.ema.start_step=3")[0]
        again, ignored = load(NAME, [_written(tmp_path, dump(experiment))])
        assert again == experiment and not ignored


def _written(folder: Path, text: str) -> Path:
    (folder / "params.yaml").write_text(text)
    return folder / "params.yaml"


def test_later_files_and_overrides_count_more(tmp_path: Path) -> None:
    for name, stride in (("one", 3), ("two", 4)):
        (tmp_path / name).write_text(
            f"task: {{train_data: {{temporal_stride: {stride}}}, losses: {{label_smoothing: 0.{stride}}}}}"
        )
    data = load(NAME, [tmp_path / "one", tmp_path / "two"], "task.train_data.temporal_stride=7")[0].task
    assert data.train_data.temporal_stride == 7 and data.losses.label_smoothing == 0.4
    assert data.losses.l2_weight_decay == 1e-4


def test_overrides_in_every_form(tmp_path: Path) -> None:
    expected = {"a": {"b": 1, "c": [1, 2]}, "d": "x,y"}
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(expected))
    for text in (
        "a.b=1,a.c=[1,2],d='x,y'",
        'a.b = 1, a.c[0]=1, a.c[1]=2, d = "x,y"',
        json.dumps(expected),
        yaml.safe_dump(expected),
        str(tmp_path / "file.yaml"),
    ):
        assert parse_override(text) == expected, text
    assert parse_override("task.train_data.input_path=gs://bucket/a*") == {
        "task": {"train_data": {"input_path": "gs://bucket/a*"}}
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.train_dta.x=3", "--params_override: task: 'train_dta' is an unknown key; did you mean 'train_data'?"),
        ("task.losses.l2_weight_decay=fast", "task.losses.l2_weight_decay: 'fast' must be a number from 0 to"),
        ("task.train_data.feature_shape=[8,32,32]", "must be frames"),
        ("task.train_data.feature_shape[1]=3", "must set all entries"),
        ("task.train_data.num_classes=5", "must be those of train_data, 5"),
        ("task.model.backbone.movinet.model_id=a7", "must be one of a0, a1"),
        ("task.model.backbone.movinet.blocks=[]", "together with stem and head"),
        ("task.model.backbone.type=resnet_3d", "must be movinet"),
        ("task.losses.one_hot=false", "must be that of losses"),
        ("task.train_data.aug_min_area_ratio=0.9,task.train_data.aug_max_area_ratio=0.5", "must be at most"),
        ("task.train_data.is_training=false", "must be true"),
        ("task.validation_data.is_training=true", "must be false"),
        ("trainer.optimizer_config.optimizer.type=lars", "must be one of sgd, rmsprop"),
        ("trainer.optimizer_config.learning_rate.type=polynomial", "initial_learning_rate: None must be given"),
        ("trainer.optimizer_config.warmup.type=polynomial", "warmup_steps: None must be given"),
        ("trainer.optimizer_config.optimizer.sgd={clipnorm: 1, clipvalue: 1}", "cannot be given together"),
        ("trainer.validation_steps=0", "must be at least 1, or -1"),
        ("runtime.loss_scale=often", "must be dynamic or a number"),
        ("runtime.distribution_strategy=parameter_server", "must be one of off, one_device"),
        ("a=b=c", "unknown key"),
        ("=3", "cannot be read"),
        ("nowhere.yaml", "cannot be read"),
        ("task.train_data.input_path=*x", "is not YAML"),
    ],
)
def test_bad_overrides_are_one_line(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(NAME, [], override)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_experiments_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be one of movinet_kinetics600"):
        load("video_classification")
    with pytest.raises(InputError, match="cannot be read"):
        load(NAME, [tmp_path / "none.yaml"])


def test_flags_reach_the_experiment() -> None:
    experiment, _ = load(NAME, tpu="grpc://1.2.3.4:8470", tf_data_service="grpc://host:5050")
    assert experiment.runtime.tpu == "grpc://1.2.3.4:8470"
    assert experiment.task.train_data.tf_data_service_address == "grpc://host:5050"


def test_ignored_keys_take_a_line_for_each_reason() -> None:
    _, ignored = load(NAME, [], "task.train_data.name=x,task.validation_data.name=y,trainer.allow_tpu_summary=true")
    first, second = notes(ignored)
    assert first == "--params_override: ignored task.train_data.name, task.validation_data.name (only a label)"
    assert second.startswith("--params_override: ignored trainer.allow_tpu_summary (it affects only the speed")


def test_data_configs_are_checked_when_made() -> None:
    assert DataConfig(tfds_name="ucf101").file_type == "tfrecord"
    assert load(NAME, [], "task.train_data.tfds_name=ucf101")[0].task.train_data.file_type == "tfds"
    for bad in ({"dtype": "int8"}, {"num_test_crops": 2}, {"seed": -1}, {"target_fps": 0}, {"global_batch_size": True}):
        with pytest.raises(InputError):
            DataConfig(**bad)
    with pytest.raises(InputError):
        Augmentation(type="mixup")
    with pytest.raises(InputError, match="must be one of"):
        MovinetConfig(conv_type="4d")


ODD = [
    None, True, -1, 0, 3, 10**30, 1e400, float("nan"), "", "x", "\0", "a" * 300, [], [1], [[1]], {}, {"a": 1}, {1: 2},
    "autoaug", [1, 3, 3], {"type": "cosine"}, "2026-11-24", "off", 0.5, "!!python/name:os.system",
]  # fmt: skip


def mutated(data: dict, random_: random.Random) -> dict:
    """Return the data with one to three values replaced, or keys renamed, moved, duplicated or removed."""
    data = copy.deepcopy(data)
    for _ in range(random_.randint(1, 3)):
        node, key = data, random_.choice([*data, "task"])
        while isinstance(node.get(key), dict) and node[key] and random_.random() < 0.8:
            node, key = node[key], random_.choice(list(node[key]))
        change = random_.randrange(5)
        if change == 0:
            node[key] = random_.choice(ODD)
        elif change == 1:
            node[str(key) + random_.choice(["s", "_", "", " "])] = node.pop(key, random_.choice(ODD))
        elif change == 2:
            node.pop(key, None)
        elif change == 3:
            node[key] = {key: node.get(key)}
        elif isinstance(node.get(key), list) and node[key]:
            node[key] = [*node[key], random_.choice(ODD)] if random_.random() < 0.5 else node[key][1:]
        else:
            node[key] = random_.choice(ODD)
    return data


def test_mutated_experiments_give_an_experiment_or_one_line(tmp_path: Path) -> None:
    random_ = random.Random(1)
    plain = [yaml.safe_load(released(*file).replace("!!python/tuple", "")) for file in FILES]
    plain += [yaml.safe_load(path.read_text()) for path in sorted(CONFIGS.glob("*.experiment.yaml"))]
    refused = 0
    for number in range(300):
        text = yaml.safe_dump(mutated(random_.choice(plain), random_))
        if number % 5 == 0:  # text too: a byte lost, duplicated or changed
            at = random_.randrange(len(text))
            text = (
                text[:at]
                + random_.choice(["", text[at] * 2, ":", "\t", "[", "'", "&a ", "!!", "\x85"])
                + text[at + 1 :]
            )
        try:
            load(NAME, [_written(tmp_path, text)])
        except InputError as error:
            refused += 1
            assert "\n" not in str(error), error
    assert 100 < refused < 300
