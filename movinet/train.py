"""Train and evaluate a MoViNet: the command line of the TF Model Garden's trainer, with its YAML files.

The experiment is the defaults, then every --config_file, then --params_override. The same command resumes an
interrupted training. More in docs/how_to/networks/train.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from movinet.training.config import experiment_file
from movinet.training.config.experiment import ExperimentConfig
from search_space.base.command_line import EXIT_CODES, Parser, exit_code, place_fault, print_escaped
from search_space.base.errors import InputError
from search_space.base.names import check_choice
from search_space.base.quiet_tensorflow import quiet_start

MODES = ("train", "train_and_eval", "train_and_post_eval", "eval", "eval_continuous", "continuous_eval")


_DEFAULTS = "--experiment=movinet_kinetics600"
EXAMPLES = (
    (
        f"{_DEFAULTS} --mode=train_and_eval --model_dir=results/runs/digits --config_file=digits_base",
        "a small network on the bundled digits, in two minutes",
    ),
    (
        f"{_DEFAULTS} --mode=train --model_dir=results/runs/a0 --config_file=movinet_a0.experiment.yaml \\\n"
        "      --params_override=task.train_data.input_path=/data/k600/train*",
        "a network that a search emitted, on your records",
    ),
    (
        f"{_DEFAULTS} --mode=eval --model_dir=results/runs/digits --config_file=results/runs/digits/params.yaml",
        "evaluate the newest checkpoint of a run",
    ),
)
CODES = EXIT_CODES.replace("program;", "program, diverged, or out of memory;")


def parser() -> Parser:
    """Return the parser; its flags are those of the TF Model Garden."""
    top = Parser("movinet.train", __doc__, EXAMPLES, CODES)
    top.add_argument("--experiment", required=True, help="movinet_kinetics600: experiment with the default values")
    top.add_argument("--mode", required=True, help=", ".join(MODES))
    top.add_argument("--model_dir", required=True, type=Path, help="folder of checkpoints, summaries and metrics")
    top.add_argument("--config_file", action="append", default=[], help="YAML file, or a preset; may be repeated")
    top.add_argument("--params_override", default="", help="YAML, JSON, key.path=value,... or a file of it")
    top.add_argument("--gin_file", action="append", default=[], help="file of gin bindings; may be repeated")
    top.add_argument("--gin_params", action="append", default=[], help="a gin binding, as run.seed=3; may be repeated")
    top.add_argument("--tpu", default="", help="name or address of a TPU")
    top.add_argument("--tf_data_service", default="", help="address of a tf.data service")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a mode.

    Returns 0 on success, 1 if training diverged, 2 for invalid input, 130 if interrupted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # notices of TensorFlow at start
    return exit_code(lambda: _main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(arguments: list[str]) -> int:
    flags, unknown = parser().parse_known_args(arguments)
    if unknown:
        raise InputError("movinet.train", unknown[0], "is an unexpected argument")
    check_choice("--mode", flags.mode, MODES)
    override = flags.params_override.strip()
    experiment, ignored = experiment_file.load(
        flags.experiment, flags.config_file, override, tpu=flags.tpu, tf_data_service=flags.tf_data_service
    )
    for line in experiment_file.notes(ignored):
        _log(line)
    if not (flags.gin_file or flags.gin_params):
        return run(experiment, flags.mode, flags.model_dir)
    return _run_with_gin(experiment, flags)


def _run_with_gin(experiment: ExperimentConfig, flags: argparse.Namespace) -> int:
    import gin

    for file in flags.gin_file:
        if not Path(file).is_file():
            raise InputError("--gin_file", file, "is not a file")
    try:
        with gin.unlock_config():  # ignore bindings of earlier calls in this process
            gin.clear_config()
            configured = gin.external_configurable(run, "run", module="movinet.train")
            gin.parse_config_files_and_bindings(flags.gin_file, flags.gin_params)
    except (ValueError, TypeError, OSError, SyntaxError, ImportError) as error:
        given = [*flags.gin_file, *flags.gin_params]
        raise InputError("--gin_params", given, f"cannot be parsed: {' '.join(str(error).split())}") from None
    return int(configured(experiment, flags.mode, flags.model_dir))


def run(experiment: ExperimentConfig, mode: str, folder: Path, seed: int | None = None) -> int:
    """Run a mode in a folder; `seed` (from gin) replaces the experiment's. Return the exit code.

    Raises:
      InputError: the clips cannot be read.
    """
    with quiet_start():
        import tensorflow as tf

    from movinet.training.input.record_faults import read_error
    from movinet.training.loop import Run
    from movinet.training.strategy import make_strategy
    from movinet.training.trainer import Diverged

    if seed is not None:
        experiment = replace(experiment, trainer=replace(experiment.trainer, seed=seed))
    try:
        running = Run(experiment, folder, make_strategy(experiment.runtime), _log)
        if mode.startswith("train"):
            running.train(evaluate=mode == "train_and_eval")
        if mode in ("eval", "train_and_post_eval"):
            running.evaluate()
        if mode in ("eval_continuous", "continuous_eval"):
            running.evaluate_continuously()
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        if place_fault(error):
            raise
        data = experiment.task.train_data, experiment.task.validation_data
        raise read_error(error, "input_path", data) from None
    except tf.errors.ResourceExhaustedError as error:
        if place_fault(error):
            raise
        batch = experiment.task.train_data.global_batch_size
        print(f"error: out of memory; reduce the batch of {batch} or the clip", file=sys.stderr)
        return 1
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _log(line: str) -> None:
    print_escaped(line)


if __name__ == "__main__":
    sys.exit(main())
