"""Batch norm as a primitive: with the statistics of the batch, alone or after an expansion; see `ops`.

Keras layers use TensorFlow's kernel. The proxy loop on CPUs has a separate one: it takes half the time, and a
fifth after an expansion, whose statistics and gradients do not need the expanded frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from movinet.model.ops import Norm, Tensor, matmul, product_of, raw, reshape, scalar, shape, sizes
from movinet.model.specs import BN_EPSILON


def normalise(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Batch norm with the statistics of the batch: x[N,H,W,C] -> the same, and (mean, variance) for the moving ones.

    For a batch on several replicas of `tf.distribute` the statistics are of the whole batch, as in the Model Garden.
    """
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        return _normalise_together(replica, x, gamma, beta)
    none = tf.constant([], gamma.dtype)
    y, mean, variance, *_ = raw.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=none, variance=none, epsilon=BN_EPSILON, is_training=True
    )
    return y, (mean, variance)


def _normalise_together(replica: Any, x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    wide = tf.cast(x, tf.float32)
    mean, variance = tf.nn.moments(wide, [0, 1, 2])
    # Replicas have equal batches, so the variance of all is mean(variance + mean^2) - mean(mean)^2.
    mean, square = replica.all_reduce(tf.distribute.ReduceOp.MEAN, [mean, variance + tf.square(mean)])
    variance = square - tf.square(mean)
    factor = gamma * tf.math.rsqrt(variance + BN_EPSILON)
    y = tf.cast((wide - mean) * factor + beta, x.dtype)
    return y, (mean, _unbiased(variance, _pixels(x) * replica.num_replicas_in_sync))


def _of_channels(operation: Callable[..., Tensor], x: Tensor, v: Tensor, batch: Any) -> Tensor:
    """Return operation(x, v) of x[T*B,H,W,C] and v[C], in rows of B pixels: short rows are 2 to 4 times slower."""
    wide = raw.Tile(input=v, multiples=shape(batch))
    rows = reshape(x, -1, product_of(batch, sizes(v)[0]))
    return raw.Reshape(tensor=operation(x=rows, y=wide), shape=shape(*sizes(x)))


def _channel_sums(x: Tensor, batch: Any) -> Tensor:
    """Sum x[T*B,H,W,C] -> [C], through [B*C] as above."""
    channels = sizes(x)[3]
    partial = raw.BiasAddGrad(out_backprop=reshape(x, -1, product_of(batch, channels)))
    return raw.BiasAddGrad(out_backprop=reshape(partial, batch, channels))


def _pixels(x: Tensor) -> Tensor:
    """Return T*B*H*W of x[T*B,H,W,C], float32."""
    return raw.Cast(x=scalar(product_of(*sizes(x)[:3])), DstT=tf.float32)


def _unbiased(variance: Tensor, count: Tensor) -> Tensor:
    """Return the unbiased variance, which TensorFlow's kernel uses for the moving variance."""
    return variance * (count / raw.Maximum(x=count - 1.0, y=tf.constant(1.0)))


def _batch_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, batch: Any
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    count = _pixels(x)
    mean = _channel_sums(x, batch) / count
    centred = _of_channels(raw.Sub, x, mean, batch)
    variance = _channel_sums(raw.Square(x=centred), batch) / count
    inverse = raw.Rsqrt(x=variance + BN_EPSILON)
    scale = gamma * inverse
    y = _of_channels(raw.AddV2, _of_channels(raw.Mul, centred, scale, batch), beta, batch)
    return y, (centred, inverse, scale, batch), (mean, _unbiased(variance, count))


def _batch_norm_gradient(
    g: Tensor, centred: Tensor, inverse: Tensor, scale: Tensor, batch: Any
) -> tuple[Tensor | None, ...]:
    count = _pixels(g)
    dbeta = _channel_sums(g, batch)
    dgamma = _channel_sums(raw.Mul(x=g, y=centred), batch) * inverse
    along = _of_channels(raw.Mul, centred, scale * inverse * dgamma / count, batch)
    across = _of_channels(raw.Sub, _of_channels(raw.Mul, g, scale, batch), scale * dbeta / count, batch)
    return raw.Sub(x=across, y=along), dgamma, dbeta, None


# x[T*B,H,W,C], gamma[C], beta[C], batch -> [T*B,H,W,C]; the forward also gives mean and variance
batch_norm = Norm(_batch_norm, _batch_norm_gradient)


def _normalised_expansion(
    x: Tensor, w: Tensor, gamma: Tensor, beta: Tensor, batch: Any
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    """Normalise x w. Its mean is that of x times w, its variance w' cov(x) w: so the norm folds into w."""
    n, height, width, _ = sizes(x)
    c_in, c_out = sizes(w)
    count = _pixels(x)
    mean_in = _channel_sums(x, batch) / count
    centred = reshape(_of_channels(raw.Sub, x, mean_in, batch), -1, c_in)
    covariance_w = matmul(matmul(centred, centred, transpose_a=True) / count, w)
    variance = raw.BiasAddGrad(out_backprop=raw.Mul(x=w, y=covariance_w))
    inverse = raw.Rsqrt(x=variance + BN_EPSILON)
    folded = w * (gamma * inverse)
    y = reshape(matmul(centred, folded), n, height, width, c_out)
    mean = reshape(matmul(reshape(mean_in, 1, c_in), w), c_out)
    residuals = (centred, w, folded, covariance_w, inverse, gamma, batch)
    return _of_channels(raw.AddV2, y, beta, batch), residuals, (mean, _unbiased(variance, count))


def _normalised_expansion_gradient(
    g: Tensor,
    centred: Tensor,
    w: Tensor,
    folded: Tensor,
    covariance_w: Tensor,
    inverse: Tensor,
    gamma: Tensor,
    batch: Any,
) -> tuple[Tensor | None, ...]:
    n, height, width, c_out = sizes(g)
    c_in = sizes(w)[0]
    count = _pixels(g)
    rows = reshape(g, -1, c_out)
    product = matmul(centred, rows, transpose_a=True)
    dbeta = _channel_sums(g, batch)
    dgamma = raw.BiasAddGrad(out_backprop=raw.Mul(x=w, y=product)) * inverse
    # With u = x w and s = gamma * inverse: du = s (g - dbeta / count - (u - mean) inverse dgamma / count).
    scale = gamma * inverse
    along = scale * inverse * dgamma
    dw = product * scale - covariance_w * along
    dx = matmul(rows, folded, transpose_b=True) - matmul(centred, matmul(w * (along / count), w, transpose_b=True))
    dx = reshape(dx, n, height, width, c_in)
    across = reshape(matmul(reshape(scale * dbeta / count, 1, c_out), w, transpose_b=True), c_in)
    return _of_channels(raw.Sub, dx, across, batch), dw, dgamma, dbeta, None


# batch_norm(pointwise(x, w), gamma, beta, batch), for a similar or larger number of output channels
normalised_expansion = Norm(_normalised_expansion, _normalised_expansion_gradient)
