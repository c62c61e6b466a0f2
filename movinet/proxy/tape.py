"""A layer compiled once for all widths: forward, backward with its update, and inference.

Tracing a candidate costs more than training it. So a function is traced for a layer signature (kernel, stride, kind of
skip), not for a candidate, and takes weights, widths and sizes at run time. A new candidate is a new list of arrays for
functions that are already traced.

The mathematics is not written twice: `Tape` records the primitives that a layer ran, and the backward function walks
this record with the gradients defined beside the primitives in `ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from movinet.model import layers, norm_ops, ops
from movinet.model.layers import BottleneckForm
from movinet.model.ops import Norm, Primitive, Tensor
from movinet.model.specs import BottleneckSpec, HeadSpec, Spec, StemSpec
from movinet.proxy.recipe import ADAM_SHARE, BETA1, BETA2, EPSILON, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, NOISE_SHARE

raw = tf.raw_ops


_FLOAT, _INT = tf.float32, tf.int32
_VECTOR = tf.TensorSpec([None], _FLOAT)
_SCALAR = tf.TensorSpec([], _FLOAT)
_COUNT = tf.TensorSpec([], _INT)
_FRAMES = tf.TensorSpec([None] * 4, _FLOAT)
_HANDLE = tf.TensorSpec([], tf.resource)
_SPLITS = tf.TensorSpec([None], tf.int64)
_SHAPES = tf.TensorSpec([None], _INT)


class Tape:
    """Runs primitives on the statistics of a batch of `batch` clips and records them for `backward`."""

    def __init__(self, batch: Tensor) -> None:
        self.batch = batch
        self.steps: list[tuple[Primitive | Norm, tuple[Any, ...], dict[str, Any], tuple[Any, ...], Tensor]] = []
        self.statistics: list[Tensor] = []

    def __call__(self, primitive: Primitive, *inputs: Any, **attributes: Any) -> Tensor:
        output, residuals = primitive.forward(*inputs, **attributes)
        self.steps.append((primitive, inputs, attributes, residuals, output))
        return output

    def normalised(
        self,
        primitive: Primitive,
        name: str,
        norm: tuple[Tensor, Tensor],
        x: Tensor,
        kernel: Tensor,
        *inputs: Any,
        **attributes: Any,
    ) -> Tensor:
        """See `movinet.model.layers.Interpreter`; normalises x `[T*B, H, W, C]` by the batch's statistics."""
        if primitive is ops.expansion:
            return self._norm(norm_ops.normalised_expansion, x, kernel, *norm, self.batch)
        return self._norm(norm_ops.batch_norm, self(primitive, x, kernel, *inputs, **attributes), *norm, self.batch)

    def _norm(self, norm: Norm, *inputs: Tensor) -> Tensor:
        y, residuals, statistics = norm.forward(*inputs)
        self.steps.append((norm, inputs, {}, residuals, y))
        self.statistics += statistics
        return y

    def residuals(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors that the backward function needs besides the leaves, without duplicates; of any shape."""
        known = {id(leaf) for leaf in leaves}
        found = {id(r): r for step in self.steps for r in step[3] if id(r) not in known}
        return list(found.values())

    def backward(self, output: Tensor, g: Tensor, now: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return cotangents by id of the recorded tensor, of the same shape as the tensor.

        Args:
          output: the recorded tensor that `g` is the cotangent of.
          now: the tensor of this graph for the id of each recorded leaf and residual.
        """
        cotangents = {id(output): g}
        for primitive, inputs, attributes, residuals, out in reversed(self.steps):
            flowing = cotangents.pop(id(out))
            found = primitive.gradient(flowing, *(now.get(id(r), r) for r in residuals), **attributes)
            for tensor, cotangent in zip(inputs, found, strict=True):
                if cotangent is None:
                    continue
                before = cotangents.get(id(tensor))
                cotangents[id(tensor)] = cotangent if before is None else raw.AddV2(x=before, y=cotangent)
        return cotangents


@dataclass(frozen=True)
class Compiled:
    """The traced functions of one layer signature, and the dtypes of their results."""

    forward: Any
    backward: Any
    evaluate: Callable[[], Any]
    outputs: list[Any]


def _unpack(flat: Tensor, splits: Tensor, shapes: Tensor, spec: Spec) -> dict[str, Tensor]:
    """Return the weights of a layer from its flat vector; sizes at run time, names and ranks from `spec`."""
    weights = spec.weights()
    ranks = [len(w.shape) for w in weights if len(w.shape) > 1]
    parts = raw.SplitV(value=flat, size_splits=splits, axis=0, num_split=len(weights))
    wanted = iter(raw.SplitV(value=shapes, size_splits=tf.constant(ranks, tf.int64), axis=0, num_split=len(ranks)))
    found = {}
    for weight, part in zip(weights, parts, strict=True):
        if len(weight.shape) > 1:
            part = raw.Reshape(tensor=part, shape=next(wanted))
            part.set_shape([None] * len(weight.shape))
        else:
            part.set_shape([1] if weight.shape == (1,) else [None])
        found[weight.name] = part
    return found


def _read(handle: Tensor) -> Tensor:
    value = raw.ReadVariableOp(resource=handle, dtype=_FLOAT)
    value.set_shape([None])
    return value


def _keep_statistics(handle: Tensor, statistics: Sequence[Tensor], momentum: Tensor) -> None:
    """Update moving = momentum * moving + (1 - momentum) * batch."""
    difference = raw.Sub(x=_read(handle), y=raw.ConcatV2(values=statistics, axis=0))
    raw.AssignSubVariableOp(resource=handle, value=raw.Mul(x=difference, y=1.0 - momentum))


def _apply_gradients(
    spec: Spec, gradients: Mapping[str, Tensor], handles: Sequence[Tensor], decayed: Tensor, hyper: Tensor
) -> None:
    """Update the flat weights by Muon and AdamW; hyper = learning rate, beta1^t, beta2^t, weight decay."""
    variable, first, second = handles
    rate, power1, power2, decay = raw.Unpack(value=hyper, num=4)
    parts = [raw.Reshape(tensor=gradients[w.name], shape=tf.constant([-1])) for w in spec.weights()]
    flat = raw.ConcatV2(values=parts, axis=0)
    momentum = _read(first) * BETA1 + flat * (1 - BETA1)
    squares = _read(second) * BETA2 + flat * flat * (1 - BETA2)
    raw.AssignVariableOp(resource=first, value=momentum)
    raw.AssignVariableOp(resource=second, value=squares)
    adam = momentum / (1 - power1) / (tf.sqrt(squares / (1 - power2)) + EPSILON) * ADAM_SHARE
    nesterov = momentum * BETA1 + flat * (1 - BETA1)
    sizes = tf.stack([tf.size(part) for part in parts])
    past = tf.square(NOISE_SHARE * (1 - power1)) * squares / (1 - power2)
    splits = (tf.split(vector, sizes, num=len(parts)) for vector in (adam, nesterov, past))
    steps = [
        _orthogonal(ahead, tf.shape(gradients[w.name])[-1]) * _share(ahead, noise) if w.orthogonal else plain
        for w, plain, ahead, noise in zip(spec.weights(), *splits, strict=True)
    ]
    change = tf.concat(steps, 0) + _read(variable) * decayed * decay
    raw.AssignSubVariableOp(resource=variable, value=change * rate)


def _share(ahead: Tensor, noise: Tensor) -> Tensor:
    """Return the share of a full step for a kernel's momentum, where its noise would have the squares `noise`."""
    return tf.minimum(1.0, tf.sqrt(tf.reduce_sum(ahead * ahead)) / (tf.sqrt(tf.reduce_sum(noise)) + EPSILON))


def _orthogonal(flat: Tensor, columns: Tensor) -> Tensor:
    """Return a flat matrix of `columns` columns with all singular values near one common value.

    That value is 1, or the root of columns over rows if this is larger (Muon; `movinet.proxy.recipe`).
    """
    matrix = tf.reshape(flat, tf.stack([-1, columns]))
    rows = tf.shape(matrix)[0]
    order = tf.where(rows > columns, [1, 0], [0, 1])  # the smaller of the two products with the transpose
    x = tf.transpose(matrix / (tf.sqrt(tf.reduce_sum(flat * flat)) + EPSILON), order)
    one = tf.eye(tf.shape(x)[0])
    a, b, c = NEWTON_SCHULZ[0] * one, NEWTON_SCHULZ[1] * one, NEWTON_SCHULZ[2]
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = tf.matmul(x, x, transpose_b=True)
        x = tf.matmul(a + tf.matmul(square, b + c * square), x)
    ratio = tf.cast(columns, _FLOAT) / tf.cast(rows, _FLOAT)
    return tf.reshape(tf.transpose(x, order), [-1]) * tf.sqrt(tf.maximum(ratio, 1.0))


def _moving(handle: Tensor, splits: Tensor, spec: Spec) -> dict[str, tuple[Tensor, Tensor]]:
    names = [name for name, _ in spec.norms]
    parts = raw.SplitV(value=_read(handle), size_splits=splits, axis=0, num_split=2 * len(names))
    return {name: (parts[2 * i], parts[2 * i + 1]) for i, name in enumerate(names)}


def _trace(function: Callable[..., Any], *signature: Any) -> Any:
    return tf.function(function, autograph=False).get_concrete_function(*signature)


def _by_name(cotangents: Mapping[int, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: cotangents[id(w)] for name, w in weights.items()}


Layer = Callable[[Any, Tensor, Mapping[str, Tensor], Tensor, Tensor], Tensor]  # run, x, w, batch, keep


def _compile(spec: Spec, apply: Layer) -> Compiled:
    """Trace a layer that another one follows: separate forward and backward functions, with residuals in between."""
    recorded: dict[str, Any] = {}

    def forward(x, batch, splits, shapes, w, moving, momentum, keep):  # type: ignore[no-untyped-def]
        tape = Tape(batch)
        weights = _unpack(_read(w), splits, shapes, spec)
        y = apply(tape, x, weights, batch, keep)
        _keep_statistics(moving, tape.statistics, momentum)
        saved = tape.residuals([x, batch, keep, *weights.values()])
        recorded.update(tape=tape, x=x, batch=batch, keep=keep, weights=weights, y=y, saved=saved)
        return [y, *saved]

    forward_traced = _trace(forward, _FRAMES, _COUNT, _SPLITS, _SHAPES, _HANDLE, _HANDLE, _SCALAR, _VECTOR)

    def backward(g, x, batch, splits, shapes, w, m, v, decayed, hyper, keep, *saved):  # type: ignore[no-untyped-def]
        weights = _unpack(_read(w), splits, shapes, spec)
        now = {id(recorded[name]): value for name, value in (("x", x), ("batch", batch), ("keep", keep))}
        now |= {id(recorded["weights"][name]): value for name, value in weights.items()}
        now |= {id(old): value for old, value in zip(recorded["saved"], saved, strict=True)}
        cotangents = recorded["tape"].backward(recorded["y"], g, now)
        gradients = _by_name(cotangents, recorded["weights"])
        # Automatic control dependencies order all reads of the weights before the update.
        _apply_gradients(spec, gradients, (w, m, v), decayed, hyper)
        return [cotangents.get(id(recorded["x"]), g)]

    saved_specs = [tf.TensorSpec(t.shape, t.dtype) for t in forward_traced.outputs[1:]]
    backward_traced = _trace(
        backward, _FRAMES, _FRAMES, _COUNT, _SPLITS, _SHAPES, _HANDLE, _HANDLE, _HANDLE, _VECTOR, _VECTOR, _VECTOR,
        *saved_specs,
    )  # fmt: skip

    def evaluate(x, batch, splits, shapes, w, moving, moving_splits):  # type: ignore[no-untyped-def]
        run = layers.Forward(_moving(moving, moving_splits, spec))
        return [apply(run, x, _unpack(_read(w), splits, shapes, spec), batch, None)]

    def trace_evaluate() -> Any:
        return _trace(evaluate, _FRAMES, _COUNT, _SPLITS, _SHAPES, _HANDLE, _HANDLE, _SPLITS)

    return Compiled(forward_traced, backward_traced, trace_evaluate, [t.dtype for t in forward_traced.outputs])


def compile_stem(spec: StemSpec) -> Compiled:
    """The stem for any width; no gradient to the pixels."""
    return _compile(spec, lambda run, x, w, batch, keep: layers.stem(run, x, w))


def compile_bottleneck(spec: BottleneckSpec, form: BottleneckForm, drop: bool) -> Compiled:
    """A bottleneck of `form` for any widths and sizes; `spec` gives the names and ranks of its weights."""
    return _compile(
        spec,
        lambda run, x, w, batch, keep: layers.bottleneck(run, x, w, batch, form, keep if drop else None),
    )


def _cross_entropy(logits: Tensor, labels: Tensor, smoothing: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over the batch with label smoothing, and its gradient."""
    batch, classes = ops.sizes(logits)
    off = smoothing / tf.cast(classes, _FLOAT)
    targets = raw.OneHot(indices=labels, depth=classes, on_value=1.0 - smoothing + off, off_value=off)
    losses, gradient = raw.SoftmaxCrossEntropyWithLogits(features=logits, labels=targets)
    return raw.Mean(input=losses, axis=tf.constant([0])), gradient / tf.cast(batch, _FLOAT)


def compile_head(spec: HeadSpec) -> Compiled:
    """Head and loss in one function: forward, backward and update."""

    def step(x, labels, smoothing, batch, splits, shapes, w, m, v, moving, momentum, decayed, hyper):  # type: ignore[no-untyped-def]
        tape = Tape(batch)
        weights = _unpack(_read(w), splits, shapes, spec)
        logits = layers.classifier(tape, layers.head_features(tape, x, weights, batch), weights)
        loss, g = _cross_entropy(logits, labels, smoothing)
        cotangents = tape.backward(logits, g, {})
        _keep_statistics(moving, tape.statistics, momentum)
        _apply_gradients(spec, _by_name(cotangents, weights), (w, m, v), decayed, hyper)
        return [loss, cotangents[id(x)]]

    labels = tf.TensorSpec([None], _INT)
    traced = _trace(
        step, _FRAMES, labels, _SCALAR, _COUNT, _SPLITS, _SHAPES, _HANDLE, _HANDLE, _HANDLE, _HANDLE, _SCALAR,
        _VECTOR, _VECTOR,
    )  # fmt: skip

    def evaluate(x, batch, splits, shapes, w, moving, moving_splits):  # type: ignore[no-untyped-def]
        run = layers.Forward(_moving(moving, moving_splits, spec))
        weights = _unpack(_read(w), splits, shapes, spec)
        return [layers.classifier(run, layers.head_features(run, x, weights, batch), weights)]

    def trace_evaluate() -> Any:
        return _trace(evaluate, _FRAMES, _COUNT, _SPLITS, _SHAPES, _HANDLE, _HANDLE, _SPLITS)

    return Compiled(traced, None, trace_evaluate, [_FLOAT, _FLOAT])
