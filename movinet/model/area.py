"""Resizing of frames by area: a pixel becomes the mean of the source pixels that it covers.

This is the definition for search and Keras models. The search engines compute the same in separate code: the fused
engine in `movinet.proxy.fused.kernels.area_resize` from the terms below, TensorFlow's engine by its `ResizeArea`.
"""

from __future__ import annotations

import functools

import numpy as np


@functools.cache
def area_terms(side: int, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each of `resolution` pixels, the pixels of `side` that it covers, and their weights.

    Returns:
      Indices int64 [K, resolution] and weights float32 [K, resolution], which sum to 1 over K; unused entries have
      weight 0.
    """
    edges = np.arange(resolution + 1) * side / resolution
    first = np.floor(edges[:-1] + 1e-9).astype(np.int64)
    terms = int((np.ceil(edges[1:] - 1e-9) - first).max())
    pixels = first + np.arange(terms)[:, None]
    covered = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    weights = (np.clip(covered, 0, None) * resolution / side).astype(np.float32)
    return np.minimum(pixels, side - 1), weights
