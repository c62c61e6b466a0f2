"""Plain Ray Tune function that fits the same Keras models; prints JSON. `throughput.py` runs it in its own process.

The first argument is a request: `{search, data, members}`. Two trials run at a time, on one core each. Prints
`{ended}`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

# Ray's default niceness of 15 would starve its workers on a busy machine.
os.environ.update({"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "TF_CPP_MIN_LOG_LEVEL": "3"})

import ray
from ray import tune


def train(trial: dict[str, Any]) -> None:
    """Run one trial in a new process."""
    import plain_training
    import tensorflow as tf

    from nas.config import search_config
    from nas.evaluation.proxy_trainer import open_made
    from search_space import architecture as schema

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    search, member = search_config.from_dict(trial["search"]), schema.from_dict(trial["member"])
    network = plain_training.compiled(member, search)
    history = plain_training.fit(network, member.clip, search, open_made(trial["data"]))
    tune.report({"accuracy": history.history["val_accuracy"][-1], "ended": time.monotonic()})


def main() -> None:
    """Train the architectures of the request."""
    request = json.loads(sys.argv[1])
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    with tempfile.TemporaryDirectory() as folder:
        space = {name: request[name] for name in ("search", "data")}
        tuner = tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space=space | {"member": tune.grid_search(request["members"])},
            tune_config=tune.TuneConfig(max_concurrent_trials=2),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = tuner.fit()
    ray.shutdown()
    if results.errors:
        sys.exit(str(results.errors[0]))
    print(json.dumps({"ended": max(result.metrics["ended"] for result in results)}))


if __name__ == "__main__":
    main()
