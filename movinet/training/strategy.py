"""Devices on which a model trains: `runtime.distribution_strategy` of the TF Model Garden."""

from __future__ import annotations

import json
import os
import re

import tensorflow as tf

from movinet.training.config.trainer_config import RuntimeConfig
from search_space.base.errors import InputError


def make_strategy(runtime: RuntimeConfig) -> tf.distribute.Strategy:
    """Return the strategy; mirrored uses num_gpus GPUs, for 0 all GPUs, or the CPU if there is none.

    Raises:
      InputError: the devices do not exist.
    """
    name = runtime.distribution_strategy
    if name == "multi_worker_mirrored":
        return _workers(runtime)
    if name == "tpu":
        return _tpu(runtime)
    devices = _devices(runtime.num_gpus)
    if name in ("off", "one_device"):
        if runtime.num_gpus > 1:
            raise InputError(
                "runtime.num_gpus", runtime.num_gpus, f"cannot be used with the strategy {name}, which uses one"
            )
        return tf.distribute.get_strategy() if name == "off" else tf.distribute.OneDeviceStrategy(devices[0])
    return tf.distribute.MirroredStrategy(devices)


def _devices(num_gpus: int) -> list[str]:
    gpus = tf.config.list_logical_devices("GPU")
    if num_gpus > len(gpus):
        raise InputError("runtime.num_gpus", num_gpus, f"GPUs are requested, but TensorFlow finds {len(gpus)}")
    return [gpu.name for gpu in gpus[: num_gpus or len(gpus)]] or ["CPU:0"]


def _workers(runtime: RuntimeConfig) -> tf.distribute.Strategy:
    """Return the strategy by `TF_CONFIG`, or by worker_hosts and task_index; one worker if neither is set."""
    if runtime.worker_hosts:
        hosts = [host.strip() for host in runtime.worker_hosts.split(",")]
        if not 0 <= runtime.task_index < len(hosts):
            raise InputError("runtime.task_index", runtime.task_index, f"must be from 0 to {len(hosts) - 1}")
        for host in hosts:
            if not re.fullmatch(r"\S+:\d{1,5}", host):
                raise InputError("runtime.worker_hosts", host, "must be host:port")
        task = {"type": "worker", "index": runtime.task_index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": hosts}, "task": task})
    _check_tf_config()
    return tf.distribute.MultiWorkerMirroredStrategy()


def _check_tf_config() -> None:
    text = os.environ.get("TF_CONFIG", "")
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise InputError("TF_CONFIG", text, f"is not JSON: {error}") from None
    parts = given if isinstance(given, dict) else {"": None}
    cluster, task = parts.get("cluster", {}), parts.get("task", {})
    rule = 'must be as in {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
    if not isinstance(cluster, dict) or not isinstance(task, dict) or "" in parts:
        raise InputError("TF_CONFIG", text, rule)
    for name, hosts in cluster.items():
        if not isinstance(hosts, list) or not all(
            isinstance(h, str) and re.fullmatch(r"\S+:\d{1,5}", h) for h in hosts
        ):
            raise InputError(f"TF_CONFIG: cluster.{name}", hosts, "must be a list of HOST:PORT")
    if cluster:
        own, index = cluster.get(task.get("type")), task.get("index")
        if own is None or type(index) is not int or not 0 <= index < len(own):
            raise InputError("TF_CONFIG: task", task, f"must be one of the cluster's: {rule}")


def _tpu(runtime: RuntimeConfig) -> tf.distribute.Strategy:
    place, value = "runtime.distribution_strategy", "tpu"
    rule = "finds no TPU{}; without a TPU override it, for example by runtime.distribution_strategy=mirrored"
    if runtime.tpu is None and not tf.config.list_physical_devices("TPU"):
        raise InputError(place, value, rule.format(", and --tpu names none"))
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=runtime.tpu or "")
        if runtime.tpu not in (None, "", "local"):
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(place, value, rule.format(f" at {runtime.tpu!r}: {' '.join(str(error).split())}")) from None
    return tf.distribute.TPUStrategy(resolver)
