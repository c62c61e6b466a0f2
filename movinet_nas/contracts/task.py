"""Contract of a network family: exact costs that ignore absent choices, valid labels, and trainings that repeat."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nas.tasks.base import SPLITS, Task
from nas.tasks.own import OwnTask
from search_space.base.errors import InputError

ARCHITECTURES, STEPS, BATCH, EXAMPLES = 4, 4, 8, 16


def check_task(kind: type[Task], **options: Any) -> None:
    """Check the costs and labels of a network family, and short trainings of a few of its architectures.

    Args:
      kind: class of the family.
      options: arguments of the class.

    Raises:
      AssertionError: the first fault, with an explanation.
    """
    try:
        own = OwnTask(f"{kind.__module__}:{kind.__qualname__}", kind, options)
        _check_costs(own)
        own.references()
        for genotype in [[0] * len(own.space.choices), *_drawn(own, ARCHITECTURES - 1).tolist()]:
            _check_training(own, own.space.decode(tuple(genotype)))
    except InputError as error:
        raise AssertionError(str(error)) from None


def _drawn(own: OwnTask, n: int) -> np.ndarray:
    return own.space.sample(np.random.default_rng(0), n)


def _check_costs(own: OwnTask) -> None:
    genotypes = _drawn(own, 64)
    costs = own.space.count(genotypes)
    for i, genotype in enumerate(genotypes):
        alone = {name: int(values[0]) for name, values in own.space.count(genotype[None]).items()}
        if alone != {name: int(values[i]) for name, values in costs.items()}:
            architecture = own.space.decode(tuple(genotype.tolist()))
            raise AssertionError(f"costs of {architecture} depend on the others or change from call to call")
    # Genes of absent choices, which canonical genotypes have at 0.
    others = np.random.default_rng(1).integers(own.space.options, size=genotypes.shape)
    padded = own.space.count(np.where(own.space.active(genotypes), genotypes, others))
    for name, values in costs.items():
        if not np.array_equal(values, padded[name]):
            raise AssertionError(f"cost {name!r} depends on an option of a choice that is absent")


def _check_training(own: OwnTask, architecture: dict[str, Any]) -> None:
    place = f"architecture {architecture}"
    first, losses = _trained(own, architecture, 1, look=False)
    again, same = _trained(own, architecture, 1, look=True)
    if not all(math.isfinite(loss) for loss in losses):
        raise AssertionError(f"{place}: losses of the first steps are {losses}; they must be finite numbers")
    if losses != same or any(not np.array_equal(first[split], again[split]) for split in SPLITS):
        rule = "draw only from the seed, and let logits change nothing"
        raise AssertionError(f"{place}: a training does not repeat; {rule}")
    if np.array_equal(first["validation"], _trained(own, architecture, 2, look=False)[0]["validation"]):
        raise AssertionError(f"{place}: another seed gives the same network")
    if np.array_equal(first["validation"], _trained(own, architecture, 1, look=False, steps=0)[0]["validation"]):
        raise AssertionError(f"{place}: {STEPS} steps leave the logits as they are")


def _trained(
    own: OwnTask, architecture: dict[str, Any], seed: int, look: bool, steps: int = STEPS
) -> tuple[dict[str, np.ndarray], list[float]]:
    """Logits of each split after a short training, and its losses; `look` asks for logits after each step too."""
    network = own.task.start(dict(architecture), seed)
    order = np.random.default_rng(0).integers(len(own.labels["train"]), size=(steps, BATCH))
    losses = []
    for examples in order:
        losses.append(float(own.task.step(network, examples)))
        if look:
            own.task.logits(network, "validation", np.arange(min(EXAMPLES, len(own.labels["validation"]))))
    return {split: _logits(own, network, split) for split in SPLITS}, losses


def _logits(own: OwnTask, network: Any, split: str) -> np.ndarray:
    examples = np.arange(min(EXAMPLES, len(own.labels[split])))
    logits, again = (own.checked_logits(network, split, examples) for _ in range(2))
    if not np.array_equal(logits, again):
        raise AssertionError(f"logits of {split} change when they are asked for again")
    backwards = own.checked_logits(network, split, examples[::-1])[::-1]
    if not np.allclose(logits, backwards, rtol=1e-3, atol=1e-3):
        raise AssertionError(f"logits of {split} are not in the order of the examples asked for")
    return logits
