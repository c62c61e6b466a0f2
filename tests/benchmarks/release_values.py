"""Logits, gradients and checkpoints of the TF Model Garden implementation, for weights drawn by `drawn_weights.py`.

    PYTHONPATH=tests /path/to/release/bin/python tests/benchmarks/release_values.py REQUEST.json FOLDER

That Python's environment has `pip install tf-models-official` and nothing of this project, so the only import from here
is the rule of the weights, which needs numpy alone.

REQUEST.json is a list of cases: `{name, network, variant, classes, clip, gradients, checkpoint}`.

- `network` is a name in Model Garden's table ("a0") or an architecture in this project's schema.
- `variant` has the fields of Model Garden's `Movinet`, and `classifier_activation`.
- `clip` is `B T H W`.
- `checkpoint` is the format: "model" as the published ones, "trainer" as by Model Garden's training, "weights" by
  Keras' `save_weights`, "saved_model" as a SavedModel.

Each case becomes FOLDER/name.npz and FOLDER/name/ckpt-1, or the SavedModel FOLDER/name.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import drawn_weights
import numpy as np
import tensorflow as tf
from official.projects.movinet.modeling import movinet, movinet_model
from release_speed import block_specs


def build(case: dict[str, Any]) -> movinet_model.MovinetClassifier:
    """Return the classifier of a case."""
    network = case["network"]
    if not isinstance(network, str):
        movinet.BLOCK_SPECS["candidate"] = block_specs(network)
        network = "candidate"
    variant = dict(case["variant"])
    activation = variant.pop("classifier_activation")
    backbone = movinet.Movinet(model_id=network, **variant)
    model = movinet_model.MovinetClassifier(backbone, num_classes=case["classes"], activation=activation)
    model.build([None, None, None, None, 3])
    return model


def variables(model: movinet_model.MovinetClassifier) -> dict[str, tf.Variable]:
    """Return every variable under its name in this project; layers by their number."""
    *layers, classifier = [*(layer for layer in model.backbone.layers if layer.weights), model.layers[-1]]
    found = dict(of_convolution("stem/conv", layers[0]._stem))
    for number, layer in enumerate(layers[1:-1], 1):
        found |= {f"{number}/{name}": variable for name, variable in of_bottleneck(layer)}
    found |= dict(of_convolution("head/project", layers[-1]._project))
    found |= dict(of_convolution("head/dense", classifier._head))
    found |= dict(of_convolution("head/classifier", classifier._classifier))
    if len(found) != len(model.variables) or {id(v) for v in found.values()} != {id(v) for v in model.variables}:
        sys.exit("release_values.py: does not know every variable of the released model")
    return found


def of_convolution(name: str, block: Any, suffix: str = "") -> Iterator[tuple[str, tf.Variable]]:
    """Yield kernel, bias and norm of a `ConvBlock`; `suffix` for the second convolution of a factorised one."""
    convolution = getattr(block, f"_conv{suffix}")
    convolution = getattr(convolution, "_conv", convolution)  # in 2plus1d a layer around one
    depthwise = hasattr(convolution, "depthwise_kernel")
    yield name, convolution.depthwise_kernel if depthwise else convolution.kernel
    if convolution.use_bias:
        yield f"{name}_bias", convolution.bias
    norm = getattr(block, f"_batch_norm{suffix}")
    for statistic in ("gamma", "beta", "moving_mean", "moving_variance") if norm is not None else ():
        yield f"{name}_{statistic}", getattr(norm, statistic)


def of_bottleneck(layer: Any) -> Iterator[tuple[str, tf.Variable]]:
    """Yield the variables of a `MovinetBlock`."""
    yield from of_convolution("expand", layer._expansion)
    yield from of_convolution("depthwise", layer._feature)
    if layer._feature._conv_temporal is not None:
        yield from of_convolution("temporal", layer._feature, "_temporal")
    if layer._attention is not None:
        yield from of_convolution("squeeze", layer._attention._se_reduce)
        yield from of_convolution("excite", layer._attention._se_expand)
        if layer._attention._pos_encoding is not None:
            yield "positional", layer._attention._pos_encoding._rezero._scale
    yield from of_convolution("project", layer._projection)
    yield "rezero", layer._mobile_bottleneck._rezero._scale
    if layer._skip is not None:
        yield from of_convolution("skip", layer._skip._projection)


def numbers(case: dict[str, Any], model: tf.keras.Model, named: dict[str, tf.Variable]) -> dict[str, np.ndarray]:
    """Return logits of the case's clips; on request, the training loss and its gradient for each trainable variable."""
    clips = tf.constant(drawn_weights.clips(case["name"], [*case["clip"], 3]))
    found = {"logits": tf.function(model)(clips).numpy()}
    if not case["gradients"]:
        return found
    labels = drawn_weights.labels(case["name"], len(clips), case["classes"])
    trainable = {name: variable for name, variable in named.items() if variable.trainable}

    @tf.function
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = model(clips, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            loss = tf.reduce_mean(losses)
        return loss, tape.gradient(loss, list(trainable.values()))

    before = {name: variable.numpy() for name, variable in named.items()}
    loss, gradients = step()
    found["loss"] = loss.numpy()
    found |= {f"gradient:{name}": g.numpy() for name, g in zip(trainable, gradients, strict=True)}
    moved = {name: variable.numpy() for name, variable in named.items() if "_moving_" in name}
    for name, variable in named.items():
        variable.assign(before[name])
    return found | {f"moved:{name}": value for name, value in moved.items()}


def write_checkpoint(form: str, model: movinet_model.MovinetClassifier, folder: Path) -> None:
    """Write a checkpoint in the format of the case."""
    if form == "weights":
        model.save_weights(str(folder / "ckpt-1"))
    elif form == "saved_model":
        tf.keras.models.save_model(model, str(folder))
    elif form == "model":
        tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    else:
        optimizer = tf.keras.optimizers.legacy.RMSprop(0.1, momentum=0.9)
        optimizer._create_all_weights(model.trainable_variables)
        step = tf.Variable(7, dtype=tf.int64)
        items = model.checkpoint_items
        tf.train.Checkpoint(model=model, optimizer=optimizer, global_step=step, **items).save(str(folder / "ckpt"))


def main() -> None:
    """Compute every case of the request."""
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for case in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        model = build(case)
        named = variables(model)
        for name, variable in named.items():
            variable.assign(drawn_weights.values(case["name"], name, variable.shape))
        trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        found = {"parameters": np.array([trainable, model.count_params()]), **numbers(case, model, named)}
        write_checkpoint(case["checkpoint"], model, folder / case["name"])
        np.savez_compressed(folder / f"{case['name']}.npz", **found)
        print(case["name"], flush=True)
        tf.keras.backend.clear_session()


if __name__ == "__main__":
    main()
