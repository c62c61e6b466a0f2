"""Stem, bottleneck and head of the fused engine: forward pass in training and in evaluation, and gradient.

Activations between layers are `[N, C]`, the pixels of a batch `B T H W C` as rows. Only the base variant is supported:
3D depthwise convolutions with past and future frames, squeeze-excite over the whole clip, swish.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from movinet.model.specs import BN_EPSILON, BottleneckSpec, HeadSpec, StemSpec
from movinet.proxy.fused import bottleneck_kernels, kernels, vectors
from movinet.proxy.fused.geometry import geometry, same_padding

F = np.float32
Array = np.ndarray
_NONE = np.empty(0, F)
_NO_MATRIX = np.empty((0, 0), F)


class Weights:
    """Weights of a layer by name, the gradients that its backward pass fills, and the moving statistics of its norms.

    Args:
      values, gradients: views into the flat vectors of the network.
      norms: name and channels of each norm.
    """

    def __init__(self, values: Mapping[str, Array], gradients: Mapping[str, Array], norms: Mapping[str, int]) -> None:
        self.values, self.gradients = values, gradients
        self.moving = {name: (np.zeros(c, F), np.ones(c, F)) for name, c in norms.items()}

    def __getitem__(self, name: str) -> Array:
        return self.values[name]

    def norm(self, name: str) -> tuple[Array, Array]:
        """Scale and offset of a norm."""
        return self.values[f"{name}_gamma"], self.values[f"{name}_beta"]

    def gradient(self, **found: Any) -> None:
        """Store gradients by name of the weight."""
        for name, value in found.items():
            self.gradients[name][...] = np.reshape(value, self.gradients[name].shape)

    def observe(self, name: str, mean: Array, variance: Array, count: int, momentum: float) -> None:
        """Update the moving statistics of a norm with those of a batch of `count` pixels."""
        statistics = mean, variance * F(count / max(count - 1, 1))
        for moving, value in zip(self.moving[name], statistics, strict=True):
            moving *= F(momentum)
            moving += F(1 - momentum) * value


def _inverse(variance: Array) -> Array:
    return 1 / np.sqrt(variance + F(BN_EPSILON))


class _Norm:
    """Batch norm of u[N, C] by the batch's statistics, or by moving ones."""

    def __init__(self, weights: Weights, name: str, rezero: Array | None = None) -> None:
        self._weights, self._name, self._rezero = weights, name, rezero

    def forward(self, u: Array, row: int, momentum: float | None) -> tuple[Array, Array]:
        """Return factor and offset by channel; `row`: floats of a row of pixels; momentum None: moving statistics."""
        gamma, beta = self._weights.norm(self._name)
        if momentum is None:
            mean, variance = self._weights.moving[self._name]
        else:
            mean, variance = vectors.row_sums(u.reshape(-1), row, len(gamma))
            self._weights.observe(self._name, mean, variance, len(u), momentum)
        if self._rezero is not None:
            gamma, beta = gamma * self._rezero, beta * self._rezero
        inverse = _inverse(variance)
        scale = gamma * inverse
        self.mean, self.inverse, self.scale, self.row = mean, inverse, scale, row
        return scale, beta - mean * scale

    def backward(self, g: Array, u: Array, keep: Array = _NONE) -> Array:
        """Return the gradient at u from g[N, C]; store those of its weights."""
        du, d_gamma, d_beta = kernels.norm_backward(g, u, self.mean, self.inverse, self.scale, keep, self.row)
        if self._rezero is not None:
            gamma, beta = self._weights.norm(self._name)
            self._weights.gradient(rezero=d_gamma @ gamma + d_beta @ beta)
            d_gamma, d_beta = d_gamma * self._rezero, d_beta * self._rezero
        self._weights.gradient(**{f"{self._name}_gamma": d_gamma, f"{self._name}_beta": d_beta})
        return du


class Stem:
    """Convolution 1x3x3 of stride 2, norm, swish."""

    def __init__(self, spec: StemSpec, weights: Weights, side: int) -> None:
        self._weights, self.side = weights, -(-side // 2)
        self._before = same_padding(3, 2, side)
        self._row = self.side * spec.width
        self._norm = _Norm(weights, "conv")

    def forward(self, frames: Array, clips: int, momentum: float | None, keep: Array) -> Array:
        """Compute [B*T, H, W, 3] -> [N, C]."""
        kernel = self._weights["conv"]
        self._patches = kernels.patches(frames, self._before)
        self._u = self._patches @ kernel.reshape(-1, kernel.shape[-1])
        self._affine = self._norm.forward(self._u, self._row, momentum)
        return kernels.affine_swish(self._u, *self._affine, self._row)

    def backward(self, g: Array) -> None:
        """Store the gradients of its weights; the pixels need none."""
        du = self._norm.backward(kernels.affine_swish_backward(g, self._u, *self._affine, self._row), self._u)
        self._weights.gradient(conv=self._patches.T @ du)


class Bottleneck:
    """Expansion, depthwise convolution, squeeze-excite, projection, ReZero, skip; norms and swish between."""

    def __init__(self, spec: BottleneckSpec, weights: Weights, frames: int, side: int) -> None:
        self._spec, self._weights, self._frames, self._in_side = spec, weights, frames, side
        self._geometry = geometry(spec.kernel, spec.stride, frames, side, spec.expand)
        self.side = self._geometry.out_side
        self._before = same_padding(3, 2, side)
        self._project_norm = _Norm(weights, "project", weights["rezero"])
        self._skip_norm = _Norm(weights, "skip") if spec.projected_skip else None

    def forward(self, x: Array, clips: int, momentum: float | None, keep: Array) -> Array:
        """Compute [N, C] -> [N, D]; keep[B] weighs each clip's branch, or is empty."""
        u, v = self._expand_depthwise(x, clips, momentum)
        project = self._gate_project(u, clips, momentum)
        scale, offset = self._project_norm.forward(project, self.side * self._spec.width, momentum)
        skip = self._skip(x, momentum)
        self._saved, self._keep = (u, v, project), keep
        return kernels.combine(project, scale, offset, keep, skip, self.side * self._spec.width)

    def _expand_depthwise(self, x: Array, clips: int, momentum: float | None) -> tuple[Array, Array]:
        w, geometry_ = self._weights, self._geometry
        kernel, (gamma, beta) = w["expand"], w.norm("expand")
        if momentum is None:
            mean, variance = w.moving["expand"]
            scale = gamma * _inverse(variance)
            folded, bias, v = kernel * scale, beta - mean * scale, _NONE
        else:
            # The expansion's statistics follow from those of its input: the norm folds into the kernel beforehand.
            x, mean, covariance = vectors.centre(x, self._in_side * x.shape[1])
            covariance_w = covariance @ kernel
            variance = (kernel * covariance_w).sum(axis=0)
            w.observe("expand", mean @ kernel, variance, len(x), momentum)
            inverse = _inverse(np.maximum(variance, 0))
            folded, bias, v = kernel * (gamma * inverse), beta, np.empty(len(x) * self._spec.expand, F)
            self._expansion = x, covariance_w, inverse, folded
        u = bottleneck_kernels.expand_depthwise(
            x, folded, bias, self._depthwise_taps(), geometry_.compiled, self._in_side * self._spec.expand,
            geometry_.row, clips, v,
        )  # fmt: skip
        return u, v

    def _gate_project(self, u: Array, clips: int, momentum: float | None) -> Array:
        w, row = self._weights, self._geometry.row
        gamma, beta = w.norm("depthwise")
        if momentum is None:
            mean, variance = w.moving["depthwise"]
        else:
            mean, variance = vectors.row_sums(u, row, len(gamma))
            w.observe("depthwise", mean, variance, len(u) // len(gamma), momentum)
        inverse = _inverse(variance)
        scale = gamma * inverse
        self._depthwise_norm = inverse, -mean * inverse, gamma, beta
        project, *self._excitation = bottleneck_kernels.gate_project(
            u, scale, beta - mean * scale, w["project"], self._spec.gated,
            *self._gate_weights(), row, clips,
        )  # fmt: skip
        return project

    def _depthwise_taps(self) -> Array:
        return self._weights["depthwise"].reshape(-1, self._spec.expand)

    def _gate_weights(self) -> tuple[Array, ...]:
        if not self._spec.gated:
            return _NO_MATRIX, _NONE, _NO_MATRIX, _NONE
        return tuple(self._weights[name] for name in ("squeeze", "squeeze_bias", "excite", "excite_bias"))

    def _skip(self, x: Array, momentum: float | None) -> Array:
        if self._skip_norm is None:
            return x
        if self._spec.stride != 1:
            x = kernels.pool(x.reshape(-1, self._in_side, self._in_side, x.shape[1]), self._before)
        self._pooled = x.reshape(-1, x.shape[-1])
        self._skipped = self._pooled @ self._weights["skip"]
        scale, offset = self._skip_norm.forward(self._skipped, self.side * self._spec.width, momentum)
        return self._skipped * scale + offset

    def backward(self, g: Array) -> Array:
        """Return the gradient at its input from g[N, D]; store those of its weights."""
        w = self._weights
        u, v, project = self._saved
        du = self._project_norm.backward(g, project, self._keep)
        clips = len(v) // (self._frames * self._in_side**2 * self._spec.expand)
        squeeze, _, excite, _ = self._gate_weights()
        dv, d_project, *d_gates, total, along = bottleneck_kernels.gate_project_backward(
            du, u, *self._depthwise_norm, w["project"], self._spec.gated, squeeze, excite,
            *self._excitation, self._geometry.row, clips,
        )  # fmt: skip
        w.gradient(project=d_project, depthwise_gamma=along, depthwise_beta=total)
        if self._spec.gated:
            w.gradient(**dict(zip(("squeeze", "squeeze_bias", "excite", "excite_bias"), d_gates, strict=True)))
        skipped = g if self._skip_norm is None else self._skip_backward(g)
        return self._expand_depthwise_backward(dv, u, v, total, along, clips, skipped)

    def _expand_depthwise_backward(
        self, dv: Array, u: Array, v: Array, total: Array, along: Array, clips: int, g: Array
    ) -> Array:
        w, spec, geometry_ = self._weights, self._spec, self._geometry
        inverse, away, gamma, _ = self._depthwise_norm
        count = len(u) // spec.expand
        scale = gamma * inverse
        by_value = (-scale * inverse * along / count).astype(F)
        offset = (-scale * (total + away * along) / count).astype(F)
        x, covariance_w, inverse_in, folded = self._expansion
        dx, product, d_beta, d_depthwise = bottleneck_kernels.expand_depthwise_backward(
            dv, u, scale, by_value, offset, v, x, folded, self._depthwise_taps(),
            geometry_.compiled, self._in_side * spec.expand, geometry_.row, clips,
        )  # fmt: skip
        kernel, (gamma_in, _) = w["expand"], w.norm("expand")
        d_beta = d_beta.astype(F)
        # With z = x w and s = gamma * inverse: dz = s (g - d_beta / N - (z - mean) inverse d_gamma / N).
        d_gamma = (kernel * product).sum(axis=0) * inverse_in
        scale_in = gamma_in * inverse_in
        along_in = scale_in * inverse_in * d_gamma
        w.gradient(
            depthwise=d_depthwise,
            expand=product * scale_in - covariance_w * along_in,
            expand_gamma=d_gamma,
            expand_beta=d_beta,
        )
        through = (kernel * (along_in / F(len(x)))) @ kernel.T
        across = (scale_in * d_beta / F(len(x))) @ kernel.T
        kernels.finish_expansion(dx, x, through, across, g, self._in_side * x.shape[1])
        return dx

    def _skip_backward(self, g: Array) -> Array:
        assert self._skip_norm is not None
        du = self._skip_norm.backward(g, self._skipped)
        self._weights.gradient(skip=self._pooled.T @ du)
        dx = du @ self._weights["skip"].T
        if self._spec.stride == 1:
            return dx
        side = self._in_side
        frames = dx.reshape(-1, self.side, self.side, dx.shape[1])
        return kernels.pool_backward(frames, side, side, self._before).reshape(-1, dx.shape[1])


class Head:
    """Projection, norm, swish, mean over the clip, dense layer, swish, classifier."""

    def __init__(self, spec: HeadSpec, weights: Weights, side: int) -> None:
        self._weights = weights
        self._row = side * spec.project
        self._norm = _Norm(weights, "project")

    def forward(self, x: Array, clips: int, momentum: float | None, keep: Array) -> Array:
        """Compute [N, C] -> logits [B, classes]."""
        w = self._weights
        self._x, self._u = x, x @ w["project"]
        self._affine = self._norm.forward(self._u, self._row, momentum)
        y = kernels.affine_swish(self._u, *self._affine, self._row)
        self._mean = y.reshape(clips, -1, y.shape[1]).mean(axis=1)
        self._dense = self._mean @ w["dense"]
        self._active = kernels.affine_swish(
            self._dense, np.ones_like(w["dense_bias"]), w["dense_bias"], len(w["dense_bias"])
        )
        return self._active @ w["classifier"] + w["classifier_bias"]

    def backward(self, g: Array) -> Array:
        """Return the gradient at its input from g[B, classes]; store those of its weights."""
        w, clips = self._weights, len(g)
        one = np.ones_like(w["dense_bias"])
        d_dense = kernels.affine_swish_backward(
            np.ascontiguousarray(g @ w["classifier"].T), self._dense, one, w["dense_bias"], len(one)
        )
        spread = (d_dense @ w["dense"].T) / F(len(self._u) // clips)
        dy = np.repeat(spread, len(self._u) // clips, axis=0)
        du = self._norm.backward(kernels.affine_swish_backward(dy, self._u, *self._affine, self._row), self._u)
        w.gradient(
            classifier=self._active.T @ g,
            classifier_bias=g.sum(axis=0),
            dense=self._mean.T @ d_dense,
            dense_bias=d_dense.sum(axis=0),
            project=self._x.T @ du,
        )
        return du @ w["project"].T
