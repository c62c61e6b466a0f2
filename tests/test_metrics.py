"""Test metrics against closed forms and TensorFlow's metrics, and their invariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from movinet.training import metrics


def drawn(seed: int, count: int = 40, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    return metrics.softmax(logits), rng.integers(classes, size=count).astype(np.int32)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 7))
def test_hits_are_tensorflows(seed, count):
    probabilities, labels = drawn(seed)
    assert np.array_equal(metrics.hits(probabilities, labels, count), tf.math.in_top_k(labels, probabilities, count))
    assert metrics.hits(probabilities, labels, 7).all()


def test_a_closed_form():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.0, 1.0, 0.0]], np.float32)
    labels = np.array([0, 0, 0])
    assert metrics.hits(probabilities, labels, 1).tolist() == [True, False, False]
    assert metrics.hits(probabilities, labels, 2).tolist() == [True, True, True]
    assert metrics.ranking(probabilities, 3).tolist() == [[0, 1, 2], [2, 0, 1], [1, 0, 2]]
    loss = (math.log(2) + math.log(4) - math.log(metrics.EPSILON)) / 3
    assert metrics.mean_loss(probabilities, labels) == pytest.approx(loss)


def test_what_is_not_a_number_hits_nothing():
    probabilities = np.full((2, 3), np.nan, np.float32)
    assert not metrics.hits(probabilities, np.array([0, 1]), 1).any()


def test_softmax_bears_large_logits():
    assert np.allclose(metrics.softmax(np.array([[1000.0, 1000.0, -1000.0]], np.float32)), [[0.5, 0.5, 0]])


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_confusion_holds_every_example_once(seed):
    probabilities, labels = drawn(seed)
    predicted = metrics.ranking(probabilities, 1)[:, 0]
    matrix = metrics.confusion(predicted, labels, 9)
    assert matrix.sum() == 40 and matrix.shape == (9, 9)
    assert np.array_equal(matrix[:7, :7], tf.math.confusion_matrix(labels, predicted, 7))
    assert matrix.trace() == metrics.hits(probabilities, labels, 1).sum()
    accuracies = metrics.class_accuracies(matrix)
    assert accuracies[7:] == [None, None]
    for label, accuracy in enumerate(accuracies[:7]):
        own = labels == label
        assert accuracy == (pytest.approx((predicted[own] == label).mean()) if own.any() else None)


def test_a_curve_counts_over_batches():
    probabilities, labels = drawn(1)
    whole, parts = metrics.Curve(), metrics.Curve()
    whole.add({"frames": 3}, probabilities, labels)
    for part in (slice(0, 3), slice(3, 40)):
        parts.add({"frames": 3}, probabilities[part], labels[part])
    (point,) = parts.points()
    assert [point] == list(whole.points())
    assert point.row() == {
        "frames": 3,
        "top1": metrics.hits(probabilities, labels, 1).mean(),
        "top5": metrics.hits(probabilities, labels, 5).mean(),
    }
