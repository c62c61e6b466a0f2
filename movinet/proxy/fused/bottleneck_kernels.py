# mypy: allow-untyped-defs
"""Compiled loops of a bottleneck, forward and backward: up to the depthwise convolution, and from there to the end.

Arrays are as in `vectors`. A clip stays in the cache within each of the two parts.
"""

from __future__ import annotations

import numpy as np

from movinet.proxy.fused.vectors import F, U, compiled, fold, sigmoid, tile, tile_rows


@compiled
def run_rows(out, a, b, starts, lengths, first, a_offsets, b_offsets):
    """Add, for each row r, the sum of a[row] * b[row] over its pairs `first[r]` to `first[r + 1]` to out[row r]."""
    one, two, three, four = U(1), U(2), U(3), U(4)
    for r in range(len(starts)):
        o, n, j, end = starts[r], lengths[r], first[r], first[r + 1]
        while j + four <= end:
            a0, a1, a2, a3 = a_offsets[j], a_offsets[j + one], a_offsets[j + two], a_offsets[j + three]
            b0, b1, b2, b3 = b_offsets[j], b_offsets[j + one], b_offsets[j + two], b_offsets[j + three]
            for i in range(n):
                out[o + i] += (a[a0 + i] * b[b0 + i] + a[a1 + i] * b[b1 + i]) + (
                    a[a2 + i] * b[b2 + i] + a[a3 + i] * b[b3 + i]
                )
            j += four
        while j < end:
            a0, b0 = a_offsets[j], b_offsets[j]
            for i in range(n):
                out[o + i] += a[a0 + i] * b[b0 + i]
            j += one


@compiled
def _bias_swish(v, bias, size):
    """Add bias (a row, tiled) to v[size], and return swish of it."""
    y = np.empty(size, F)
    n = U(len(bias))
    start = U(0)
    while start < U(size):
        for i in range(n):
            x = v[start + i] + bias[i]
            v[start + i] = x
            y[start + i] = x * sigmoid(x)
        start += n
    return y


@compiled
def _times_slope(g, v, size):
    """Multiply g[size] by the slope of swish at v."""
    for i in range(U(size)):
        s = sigmoid(v[i])
        g[i] *= s * (F(1) + v[i] * (F(1) - s))


@compiled
def _scatter(y, start, plane, places, channels):
    """Copy the pixels of a clip to their places in a padded buffer."""
    source, c = U(start), U(channels)
    for p in range(len(places)):
        target = places[p]
        for i in range(c):
            plane[target + i] = y[source + i]
        source += c


@compiled
def _gather(plane, places, y, start, channels):
    """The inverse of `_scatter`."""
    target, c = U(start), U(channels)
    for p in range(len(places)):
        source = places[p]
        for i in range(c):
            y[target + i] = plane[source + i]
        target += c


@compiled
def _zero(row, start, size):
    for i in range(U(size)):
        row[U(start) + i] = F(0)


@compiled
def expand_depthwise(x, kernel, offset, depthwise, geometry, n_in, n_out, clips, v):
    """Expansion, swish and depthwise convolution of a batch.

    Args:
      x: [clips * pixels, C]; kernel: [C, E]; offset: [E]; depthwise: [taps, E].
      geometry: of `geometry.Geometry.compiled`.
      n_in, n_out: floats of a row of input and of output.
      v: [clips * pixels * E], filled with the input of swish for the backward pass; or empty.

    Returns:
      The convolution's output, flat [clips * out_size].
    """
    buffer_size, places, _, d_places, forward, _, _ = geometry
    channels = kernel.shape[1]
    pixels, out_size = len(x) // clips, len(d_places) * n_out
    u = np.zeros(clips * out_size, F)
    plane = np.zeros(buffer_size, F)
    size = pixels * channels
    bias, taps = tile(offset, n_in), tile_rows(depthwise, n_out)
    group = max(1, min(clips, 16384 // size))
    starts, lengths, first, a_offsets, b_offsets = forward
    for clip in range(0, clips, group):
        count = min(group, clips - clip)
        inside = np.dot(x[clip * pixels : (clip + count) * pixels], kernel).reshape(-1)
        y = _bias_swish(inside, bias, count * size)
        if len(v):
            v[clip * size : (clip + count) * size] = inside
        for k in range(count):
            _scatter(y, k * size, plane, places, channels)
            o = (clip + k) * out_size
            run_rows(u[o : o + out_size], plane, taps, starts, lengths, first, a_offsets, b_offsets)
    return u


@compiled
def _gates(mean, squeeze, squeeze_bias, excite, excite_bias, hidden, gate):
    """Squeeze-excite of one clip: mean [E] -> hidden (before its swish) [S] and gate [E]."""
    for j in range(len(hidden)):
        hidden[j] = squeeze_bias[j]
    for c in range(len(mean)):
        for j in range(len(hidden)):
            hidden[j] += mean[c] * squeeze[c, j]
    for c in range(len(gate)):
        gate[c] = excite_bias[c]
    for j in range(len(hidden)):
        active = hidden[j] * sigmoid(hidden[j])
        for c in range(len(gate)):
            gate[c] += active * excite[j, c]
    for c in range(len(gate)):
        gate[c] = sigmoid(gate[c])


@compiled
def gate_project(u, scale, offset, project, gated, squeeze, squeeze_bias, excite, excite_bias, n, clips):
    """Norm, swish, squeeze-excite and projection of a batch.

    Args:
      u: output of the depthwise convolution, flat, rows of n = W * E; scale, offset: its norm, [E].
      project: [E, D].
      gated: with squeeze-excite or not; its weights [E, S], [S], [S, E], [E].

    Returns:
      [rows, D], and by clip the mean [B, E], hidden [B, S] and gate [B, E] (of no rows without squeeze-excite).
    """
    channels = project.shape[0]
    size = len(u) // clips
    pixels = size // channels
    out = np.empty((clips * pixels, project.shape[1]), F)
    kept = clips if gated else 0
    means = np.empty((kept, channels), F)
    hiddens = np.empty((kept, squeeze.shape[1]), F)
    gates = np.empty((kept, channels), F)
    group = max(1, min(clips, 16384 // size))
    z = np.empty(group * size, F)
    width = U(n)
    scales, offsets = tile(scale, n), tile(offset, n)
    for clip in range(0, clips, group):
        count = min(group, clips - clip)
        for k in range(count):
            base, start = U((clip + k) * size), U(k * size)
            total = np.zeros(n, F)
            for _ in range(size // n):
                for i in range(width):
                    a = u[base + i] * scales[i] + offsets[i]
                    a = a * sigmoid(a)
                    z[start + i] = a
                    total[i] += a
                base += width
                start += width
            if gated:
                means[clip + k] = (fold(total, channels) / pixels).astype(F)
                _gates(means[clip + k], squeeze, squeeze_bias, excite, excite_bias, hiddens[clip + k], gates[clip + k])
                gate = tile(gates[clip + k], n)
                start = U(k * size)
                for _ in range(size // n):
                    for i in range(width):
                        z[start + i] *= gate[i]
                    start += width
        rows = z[: count * size].reshape(count * pixels, channels)
        out[clip * pixels : (clip + count) * pixels] = np.dot(rows, project)
    return out, means, hiddens, gates


@compiled
def gate_project_backward(
    g, u, inverse, away, gamma, beta, project, gated, squeeze, excite, means, hiddens, gates, n, clips
):
    """Gradient of `gate_project`.

    Args:
      g: [rows, D] of the projection's output.
      inverse, away, gamma, beta: [E]; x = u * inverse + away is the normalised value, gamma x + beta the norm.

    Returns:
      Gradient at the norm's output, flat as u; of the projection; of squeeze-excite's four weights; and by channel
      the sums that the norm's own gradient needs: of the gradient, and of its product with x.
    """
    channels = project.shape[0]
    size = len(u) // clips
    pixels = size // channels
    inverse, away, gamma, beta = tile(inverse, n), tile(away, n), tile(gamma, n), tile(beta, n)
    hidden_channels = squeeze.shape[1]
    dv = np.empty(len(u), F)
    d_project = np.zeros(project.shape, F)
    d_squeeze, d_squeeze_bias = np.zeros(squeeze.shape, F), np.zeros(hidden_channels, F)
    d_excite, d_excite_bias = np.zeros(excite.shape, F), np.zeros(channels, F)
    total, along = np.zeros(channels), np.zeros(channels)
    transposed = np.ascontiguousarray(project.T)
    group = max(1, min(clips, 16384 // size))
    z, slope = np.empty(group * size, F), np.empty(group * size, F)
    width = U(n)
    for clip in range(0, clips, group):
        count = min(group, clips - clip)
        rows = g[clip * pixels : (clip + count) * pixels]
        dz = np.dot(rows, transposed).reshape(-1)
        for k in range(count):
            base, start = U((clip + k) * size), U(k * size)
            gate = tile(gates[clip + k], n) if gated else np.ones(n, F)
            d_gate = np.zeros(n, F)
            for _ in range(size // n):
                for i in range(width):
                    a = (u[base + i] * inverse[i] + away[i]) * gamma[i] + beta[i]
                    s = sigmoid(a)
                    active = a * s
                    slope[start + i] = s * (F(1) + a * (F(1) - s))
                    d_gate[i] += dz[start + i] * active
                    z[start + i] = active * gate[i]
                base += width
                start += width
            spread = np.zeros(n, F)
            if gated:
                d_logit = fold(d_gate, channels).astype(F)
                for c in range(channels):
                    d_logit[c] *= gates[clip + k, c] * (F(1) - gates[clip + k, c])
                    d_excite_bias[c] += d_logit[c]
                d_mean = np.zeros(channels, F)
                for j in range(hidden_channels):
                    h = hiddens[clip + k, j]
                    s = sigmoid(h)
                    d_active = F(0)
                    for c in range(channels):
                        d_excite[j, c] += h * s * d_logit[c]
                        d_active += excite[j, c] * d_logit[c]
                    d_hidden = d_active * s * (F(1) + h * (F(1) - s))
                    d_squeeze_bias[j] += d_hidden
                    for c in range(channels):
                        d_squeeze[c, j] += means[clip + k, c] * d_hidden
                        d_mean[c] += squeeze[c, j] * d_hidden
                spread = tile(d_mean / F(pixels), n)
            base, start = U((clip + k) * size), U(k * size)
            a_row, b_row = np.zeros(n, F), np.zeros(n, F)
            for _ in range(size // n):
                for i in range(width):
                    d = (dz[start + i] * gate[i] + spread[i]) * slope[start + i]
                    dv[base + i] = d
                    a_row[i] += d
                    b_row[i] += d * (u[base + i] * inverse[i] + away[i])
                base += width
                start += width
            total += fold(a_row, channels)
            along += fold(b_row, channels)
        d_project += np.dot(z[: count * size].reshape(count * pixels, channels).T, rows)
    return dv, d_project, d_squeeze, d_squeeze_bias, d_excite, d_excite_bias, total, along


@compiled
def expand_depthwise_backward(
    dv, u, by_gradient, by_value, offset, v, x, kernel, depthwise, geometry, n_in, n_out, clips
):
    """Gradient of `expand_depthwise`.

    Args:
      dv: gradient at the output of the depthwise norm; at its input it is by_gradient * dv + by_value * u + offset,
        three vectors [E].
      v, x: as left by the forward pass; x is centred.
      kernel: [C, E] that the forward pass multiplied with.
      geometry: of `geometry.Geometry.compiled`.
      n_in, n_out: floats of a row of input and of output.

    Returns:
      The gradient of x, without the part through the expansion's statistics, [rows, C]. Then: x' times the gradient at
      the expansion's norm, [C, E]; the sum of that gradient [E]; the gradient of the depthwise kernel, [taps, E].
    """
    buffer_size, places, d_size, d_places, _, backward, of_taps = geometry
    channels = kernel.shape[1]
    pixels = len(v) // channels // clips
    in_size, out_size = pixels * channels, len(u) // clips
    dx = np.empty(x.shape, F)
    product = np.zeros(kernel.shape, F)
    total = np.zeros(channels)
    taps = tile_rows(depthwise, n_out)
    d_taps = np.zeros(len(taps), F)
    by_gradient, by_value, offset = tile(by_gradient, n_out), tile(by_value, n_out), tile(offset, n_out)
    plane, d_plane = np.zeros(buffer_size, F), np.zeros(buffer_size, F)
    d_padded = np.zeros(d_size, F)
    transposed = np.ascontiguousarray(kernel.T)
    b_starts, b_lengths, b_first, b_a, b_b = backward
    t_starts, t_lengths, t_first, t_a, t_b = of_taps
    group = max(1, min(clips, 16384 // in_size))
    y, du = np.empty(in_size, F), np.empty(out_size, F)
    width = U(n_out)
    for clip in range(0, clips, group):
        count = min(group, clips - clip)
        d_inside = np.empty(count * in_size, F)
        for k in range(count):
            base, start = U((clip + k) * out_size), U(0)
            for _ in range(out_size // n_out):
                for i in range(width):
                    du[start + i] = by_gradient[i] * dv[base + i] + by_value[i] * u[base + i] + offset[i]
                base += width
                start += width
            _scatter(du, 0, d_padded, d_places, n_out)
            o = (clip + k) * in_size
            for i in range(U(in_size)):
                a = v[U(o) + i]
                y[i] = a * sigmoid(a)
            _scatter(y, 0, plane, places, channels)
            run_rows(d_taps, plane, d_padded, t_starts, t_lengths, t_first, t_a, t_b)
            _zero(d_plane, 0, buffer_size)
            run_rows(d_plane, d_padded, taps, b_starts, b_lengths, b_first, b_a, b_b)
            _gather(d_plane, places, d_inside, k * in_size, channels)
            _times_slope(d_inside[k * in_size : (k + 1) * in_size], v[o : o + in_size], in_size)
            row = np.zeros(n_in, F)
            base = U(k * in_size)
            for _ in range(in_size // n_in):
                for i in range(U(n_in)):
                    row[i] += d_inside[base + i]
                base += U(n_in)
            total += fold(row, channels)
        rows = d_inside.reshape(count * pixels, channels)
        dx[clip * pixels : (clip + count) * pixels] = np.dot(rows, transposed)
        product += np.dot(x[clip * pixels : (clip + count) * pixels].T, rows)
    d_depthwise = np.empty(depthwise.shape, F)
    for tap in range(len(depthwise)):
        d_depthwise[tap] = fold(d_taps[tap * n_out : (tap + 1) * n_out], channels).astype(F)
    return dx, product, total, d_depthwise
