# mypy: allow-untyped-defs
"""Compiled loops of norms, activations, pools, the stem's patches and resizing. Arrays are as in `vectors`."""

from __future__ import annotations

import numpy as np

from movinet.proxy.fused.vectors import F, U, compiled, fold, sigmoid, tile


@compiled
def combine(u, scale, offset, keep, skip, n):
    """Compute u[N, D] * scale[D] + offset[D], weighted by keep[B] per clip if given, plus skip[N, D]; a new array."""
    out = np.empty_like(u)
    a, b, y, o = u.reshape(-1), skip.reshape(-1), out.reshape(-1), U(0)
    scales, offsets = tile(scale, n), tile(offset, n)
    clips = max(1, len(keep))
    for clip in range(clips):
        weight = keep[clip] if len(keep) else F(1)
        for _ in range(u.size // clips // n):
            for i in range(U(n)):
                y[o + i] = (a[o + i] * scales[i] + offsets[i]) * weight + b[o + i]
            o += U(n)
    return out


@compiled
def norm_backward(g, u, mean, inverse, scale, keep, n):
    """Gradient of a norm, [N, D]: at its input, and by channel of its factor and offset.

    Args:
      g: at its output, before the weights keep[B] of the clips if any.
      scale: gamma * inverse.
      n: floats of a row of pixels.
    """
    channels = g.shape[1]
    total, along = np.zeros(channels), np.zeros(channels)
    away = tile(mean, n)
    out = np.empty_like(g)
    x, y, d = u.reshape(-1), g.reshape(-1), out.reshape(-1)
    clips = max(1, len(keep))
    rows, o = g.size // clips // n, U(0)
    for clip in range(clips):
        weight = keep[clip] if len(keep) else F(1)
        for start in range(0, rows, 64):
            a, b = np.zeros(n, F), np.zeros(n, F)
            for _ in range(start, min(rows, start + 64)):
                for i in range(U(n)):
                    value = y[o + i] * weight
                    d[o + i] = value
                    a[i] += value
                    b[i] += value * (x[o + i] - away[i])
                o += U(n)
            total += fold(a, channels)
            along += fold(b, channels)
    d_gamma = along * inverse
    scales = tile(scale, n)
    across = tile((scale * total / len(g)).astype(F), n)
    slope = tile((scale * inverse * d_gamma / len(g)).astype(F), n)
    o = U(0)
    for _ in range(g.size // n):
        for i in range(U(n)):
            d[o + i] = d[o + i] * scales[i] - across[i] - (x[o + i] - away[i]) * slope[i]
        o += U(n)
    return out, d_gamma.astype(F), total.astype(F)


@compiled
def affine_swish(u, scale, offset, n):
    """Compute u[N, C] -> swish(u * scale + offset); n: floats of a row of pixels."""
    out = np.empty_like(u)
    x, y, o = u.reshape(-1), out.reshape(-1), U(0)
    scales, offsets = tile(scale, n), tile(offset, n)
    for _ in range(u.size // n):
        for i in range(U(n)):
            a = x[o + i] * scales[i] + offsets[i]
            y[o + i] = a * sigmoid(a)
        o += U(n)
    return out


@compiled
def affine_swish_backward(g, u, scale, offset, n):
    """Compute the gradient at the affine part of `affine_swish` from g[N, C] at its output."""
    out = np.empty_like(g)
    x, y, d, o = u.reshape(-1), g.reshape(-1), out.reshape(-1), U(0)
    scales, offsets = tile(scale, n), tile(offset, n)
    for _ in range(u.size // n):
        for i in range(U(n)):
            a = x[o + i] * scales[i] + offsets[i]
            s = sigmoid(a)
            d[o + i] = y[o + i] * s * (F(1) + a * (F(1) - s))
        o += U(n)
    return out


@compiled
def finish_expansion(dx, x, through, across, g, n):
    """Subtract x through[C, C] + across[C] from dx[N, C], and add g[N, C], the gradient of the skip; n: as above."""
    part = np.dot(x, through).reshape(-1)
    d, skip, offset, o = dx.reshape(-1), g.reshape(-1), tile(across, n), U(0)
    for _ in range(dx.size // n):
        for i in range(U(n)):
            d[o + i] += skip[o + i] - part[o + i] - offset[i]
        o += U(n)


@compiled
def pool(x, before):
    """Average pool 3 x 3 of stride 2, 'same' padding left out of the mean: x[N, H, W, C] -> [N, H/2, W/2, C]."""
    frames, height, width, channels = x.shape
    out = np.zeros((frames, (height + 1) // 2, (width + 1) // 2, channels), F)
    for f in range(frames):
        for h in range(out.shape[1]):
            top, bottom = max(0, 2 * h - before), min(height, 2 * h - before + 3)
            for w in range(out.shape[2]):
                left, right = max(0, 2 * w - before), min(width, 2 * w - before + 3)
                share = F(1) / F((bottom - top) * (right - left))
                for i in range(top, bottom):
                    for j in range(left, right):
                        for c in range(channels):
                            out[f, h, w, c] += x[f, i, j, c] * share
    return out


@compiled
def pool_backward(g, height, width, before):
    """Gradient of `pool`, [N, H, W, C]."""
    frames, _, _, channels = g.shape
    out = np.zeros((frames, height, width, channels), F)
    for f in range(frames):
        for h in range(g.shape[1]):
            top, bottom = max(0, 2 * h - before), min(height, 2 * h - before + 3)
            for w in range(g.shape[2]):
                left, right = max(0, 2 * w - before), min(width, 2 * w - before + 3)
                share = F(1) / F((bottom - top) * (right - left))
                for i in range(top, bottom):
                    for j in range(left, right):
                        for c in range(channels):
                            out[f, i, j, c] += g[f, h, w, c] * share
    return out


@compiled
def patches(frames, before):
    """Return 3 x 3 patches of stride 2 with 'same' padding: [N, H, W, C] -> [N * H/2 * W/2, 9 C]."""
    count, height, width, channels = frames.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    out = np.zeros((count * rows * columns, 9 * channels), F)
    source, target = frames.reshape(-1), out.reshape(-1)
    line, place = U(3 * channels), U(0)
    for f in range(count):
        for h in range(rows):
            for w in range(columns):
                x = 2 * w - before
                left, right = max(0, -x), max(0, x + 3 - width)
                for i in range(3):
                    y = 2 * h - before + i
                    if 0 <= y < height:
                        start = U(((f * height + y) * width + x + left) * channels)
                        skipped = U(left * channels)
                        for j in range(U((3 - left - right) * channels)):
                            target[place + skipped + j] = source[start + j]
                    place += line
    return out


@compiled
def area_resize(clips, rows, row_weights, columns, column_weights):
    """Resize by area: uint8 [T, B, H, W, C] -> float32 [B, T, r, r, C] in 0..1.

    Output row i is the sum over k of row `rows[k, i]` times `row_weights[k, i]`. Float j of a row is the same sum over
    the W * C floats of an input row, by `columns` and `column_weights`.
    """
    frames, batch, height, width, channels = clips.shape
    size = rows.shape[1]
    n = width * channels
    out = np.empty((batch, frames, size, size, channels), F)
    row, narrow = np.empty(n, F), size * channels
    for t in range(frames):
        for b in range(batch):
            frame, target = clips[t, b].reshape(-1), out[b, t].reshape(-1)
            for h in range(size):
                for i in range(U(n)):
                    row[i] = F(0)
                for k in range(len(rows)):
                    weight, start = row_weights[k, h] / F(255), U(rows[k, h] * n)
                    for i in range(U(n)):
                        row[i] += F(frame[start + i]) * weight
                start = U(h * narrow)
                for j in range(U(narrow)):
                    total = F(0)
                    for k in range(U(len(columns))):
                        total += row[columns[k, j]] * column_weights[k, j]
                    target[start + j] = total
    return out
