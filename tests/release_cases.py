"""Networks whose outputs are compared with the TF Model Garden implementation, and the requests for these outputs.

    .venv/bin/python tests/release_cases.py /path/to/release/bin/python

This command records the reference values of the default tests in `tests/recorded/`: logits and, for some cases,
gradients. Weights are not recorded: `drawn_weights.py` draws them. That Python requires an environment set up with
`pip install tf-models-official`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drawn_weights
import numpy as np

from search_space import architecture as schema
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.published import PUBLISHED
from search_space.space.movinet import base_config, movinet_space
from search_space.space.sampling import sample_feasible
from search_space.variant import BASE, STREAM, Variant, released_stream

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "recorded"
CLASSES = 10

# One bottleneck per block, with the smallest widths, so that the checkpoint is small enough to be committed.
TINY = Architecture(
    Clip(4, 32, 1),
    Stem(8),
    tuple(
        Block(8, stride, (Layer(16, kernel),))
        for stride, kernel in zip((2, 2, 2, 1, 2), ((1, 5, 5), (3, 3, 3), (5, 3, 3), (3, 3, 3), (1, 3, 3)), strict=True)
    ),
    Head(16, 32),
)


@dataclass(frozen=True)
class Case:
    """A network with drawn weights on drawn clips.

    Attributes:
      name: seed of its weights and clips.
      network: a name in the table of the Model Garden, or an architecture passed to it.
      variant: variant of its layers.
      clip: B T H W.
      gradients: whether the training loss and its gradients are compared.
      checkpoint: format in which the Model Garden writes it, see `release_values.py`.
    """

    name: str
    network: str | Architecture
    variant: Variant
    clip: tuple[int, int, int, int]
    gradients: bool = False
    checkpoint: str = "model"

    @property
    def architecture(self) -> Architecture:
        """Architecture of the network in this project."""
        return PUBLISHED[self.network] if isinstance(self.network, str) else self.network

    def request(self) -> dict[str, Any]:
        """Return the case in the form that `release_values.py` reads."""
        network = self.network if isinstance(self.network, str) else schema.to_dict(self.network)
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return plain | {"network": network, "variant": dataclasses.asdict(self.variant), "classes": CLASSES}


def random_cases(number: int = 10) -> list[Case]:
    """Return architectures in the search space in several variants, all with squeeze-excite as in the Model Garden."""
    config = base_config()
    blocks = tuple(dataclasses.replace(b, depths=(1, 2), squeeze_excite=(True,)) for b in config.blocks)
    space = movinet_space(dataclasses.replace(config, blocks=blocks))
    drawn = sample_feasible(space, np.random.default_rng(2103_11511), number, ())
    variants = (
        BASE,
        STREAM,
        dataclasses.replace(STREAM, conv_type="3d", use_positional_encoding=True),
        dataclasses.replace(STREAM, conv_type="3d_2plus1d", classifier_activation="hard_swish"),
        Variant(conv_type="2plus1d", se_type="2plus3d", activation="relu"),
        Variant(causal=True, se_type="2d", activation="relu6"),
        Variant(se_type="none", activation="hard_swish"),
        Variant(causal=True, conv_type="2plus1d", use_positional_encoding=True),
    )
    return [
        Case(f"random{i}", space.decode(tuple(genotype)), variants[i % len(variants)], (1, 6 + i % 3, 40, 48))
        for i, genotype in enumerate(drawn.tolist())
    ]


def recorded_cases() -> list[Case]:
    """Return the cases of the default tests."""
    return [
        Case("a0_base", "a0", BASE, (2, 8, 64, 64), gradients=True),
        Case("a0_base_sharp", "a0", BASE, (1, 5, 172, 172)),
        Case("a1_base", "a1", BASE, (1, 7, 64, 64)),
        Case("a2_base", "a2", BASE, (1, 5, 97, 120)),
        Case("a0_stream", "a0", STREAM, (2, 8, 64, 64), gradients=True, checkpoint="trainer"),
        Case("a1_stream", "a1", STREAM, (1, 6, 97, 120)),
        Case("a3_stream", "a3", released_stream("a3"), (1, 8, 64, 64), checkpoint="weights"),
        Case("tiny", TINY, STREAM, (1, 4, 32, 32)),
        *random_cases(),
    ]


def further_cases() -> list[Case]:
    """Return the remaining Model Garden models, for tests that run beside that implementation."""
    base = [Case(f"{name}_base", name, BASE, (1, 4, 64, 64)) for name in ("a3", "a4", "a5")]
    base.append(Case("t0_base", "t0", BASE, (1, 4, 64, 64), checkpoint="saved_model"))
    stream = [Case(f"{name}_stream", name, released_stream(name), (1, 4, 64, 64)) for name in ("a2", "a4", "a5", "t0")]
    return base + stream


def released(python: str, cases: list[Case], folder: Path) -> None:
    """Compute the cases with the Model Garden: `folder`/name.npz and `folder`/name/ckpt-1 of each.

    Raises:
      subprocess.CalledProcessError: it failed; its messages are on standard error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    request = folder / "request.json"
    request.write_text(json.dumps([case.request() for case in cases]), encoding="utf-8")
    command = [python, str(HERE / "benchmarks" / "release_values.py"), str(request), str(folder)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(HERE)})


def summary(name: str, gradients: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return float32 [N, 2] of gradients by name: norm, and product with a drawn direction of unit length."""
    found = []
    for own, gradient in sorted(gradients.items()):
        direction = drawn_weights.generator(name, f"direction of {own}").normal(size=gradient.size)
        norm = np.linalg.norm(gradient)
        found.append((norm, gradient.ravel() @ direction / np.linalg.norm(direction)))
    return np.array(found, np.float32)


def record(python: str) -> None:
    """Write `tests/recorded/`."""
    with tempfile.TemporaryDirectory() as scratch:
        cases = recorded_cases()
        released(python, cases, Path(scratch))
        kept: dict[str, np.ndarray] = {}
        for case in cases:
            found = dict(np.load(Path(scratch, f"{case.name}.npz")))
            kept[f"{case.name}/logits"] = found["logits"]
            if case.gradients:
                kept[f"{case.name}/loss"] = found["loss"]
                kept[f"{case.name}/gradients"] = summary(case.name, gradients_of(found))
        np.savez_compressed(RECORDED / "release_values.npz", **kept)
        shutil.rmtree(RECORDED / "release_tiny", ignore_errors=True)
        shutil.copytree(Path(scratch, "tiny"), RECORDED / "release_tiny")


def gradients_of(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the gradients in the output of `release_values.py`, under the names of this project."""
    prefix = "gradient:"
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


if __name__ == "__main__":
    record(sys.argv[1])
