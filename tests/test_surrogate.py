"""The Gaussian process: its gradient, the effect of repeats, and the inferred importance of choices."""

from __future__ import annotations

import numpy as np
import pytest

from nas.algorithms.frontier.gaussian_process import Encoding, LogPosterior, Posterior, cholesky, inverse
from search_space.base.errors import InputError
from search_space.space.choices import Choice, Condition, SearchSpace

CHOICES = (
    Choice("width", (8, 16, 24)),
    Choice("depth", (1, 2)),
    Choice("kernel1", (1, 3, 5)),
    Choice("kernel2", (1, 3, 5), Condition("depth", 2)),
)
SPACE = SearchSpace("toy", CHOICES, dict, dict, lambda genes: {"macs": 1 + genes.sum(axis=1)})
MEMBERS = SPACE.members()
ENCODING = Encoding(SPACE, np.array([1.0]), np.array([0.5]))
FEATURES = ENCODING(MEMBERS, np.log(SPACE.count(MEMBERS)["macs"])[:, None])


def values_of(seed: int, noise: float) -> np.ndarray:
    """Return values that depend on the first kernel, and slightly on the width."""
    clean = np.array([-1.0, 0.0, 1.0])[MEMBERS[:, 2]] + 0.2 * MEMBERS[:, 0]
    return clean - clean.mean() + noise * np.random.default_rng(seed).standard_normal(len(MEMBERS))


def evidence(values: np.ndarray, rows: np.ndarray) -> LogPosterior:
    return LogPosterior(ENCODING, FEATURES[rows], values[rows], np.zeros(len(rows)))


def test_the_gradient_is_that_of_the_density() -> None:
    rows = np.array([*range(0, len(MEMBERS), 2), 0, 4])  # two of them twice
    found = evidence(values_of(0, 0.3), rows)
    parameters = found.center + 0.3 * np.random.default_rng(1).standard_normal(len(found.center))
    _, gradient = found.loss(parameters)
    for i, step in enumerate(1e-5 * np.eye(len(parameters))):
        numeric = (found.loss(parameters + step)[0] - found.loss(parameters - step)[0]) / 2e-5
        assert gradient[i] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_fitting_finds_the_choice_that_matters_and_predicts_what_it_has_not_seen() -> None:
    values, rows = values_of(0, 0.1), np.arange(0, len(MEMBERS), 2)
    kernel = evidence(values, rows).fit()
    posterior = Posterior(kernel, ENCODING, FEATURES[rows], values[rows], np.zeros(len(rows)))
    everywhere = posterior.mean(FEATURES)
    spread = [np.ptp([everywhere[genes == option].mean() for option in np.unique(genes)]) for genes in MEMBERS.T]
    assert np.argmax(spread) == 2
    others = np.setdiff1d(np.arange(len(MEMBERS)), rows)
    mean, sd = posterior(FEATURES[others])
    np.testing.assert_allclose(mean, posterior.mean(FEATURES[others]))
    assert np.corrcoef(mean, values_of(0, 0.0)[others])[0, 1] > 0.9
    assert (np.abs(mean - values_of(0, 0.0)[others]) < 4 * sd).mean() > 0.9


def test_repeats_make_surer_and_pull_towards_their_mean() -> None:
    kernel = evidence(values_of(0, 0.5), np.arange(len(MEMBERS))).fit()
    at = FEATURES[:1]

    def told(*values: float) -> tuple[float, float]:
        mean, sd = Posterior(
            kernel, ENCODING, np.repeat(at, len(values), axis=0), np.array(values), np.zeros(len(values))
        )(at)
        return float(mean[0]), float(sd[0])

    once, often = told(1.0), told(1.0, 1.0, 1.0, 1.0)
    assert often[1] < once[1]
    assert once[0] < often[0] < 1.0
    assert told(1.0, -1.0)[0] == pytest.approx(0.0, abs=1e-9)


def test_what_is_in_training_is_believed_to_come_out_at_the_mean() -> None:
    values, order = values_of(0, 0.3), np.random.default_rng(2).permutation(len(MEMBERS))
    rows, pending = order[:20], np.append(order[20:30], order[:1])  # the last one is trained once more
    kernel = evidence(values, rows).fit()
    known = Posterior(kernel, ENCODING, FEATURES[rows], values[rows], np.zeros(20))
    every = np.concatenate([FEATURES[rows], FEATURES[pending]])
    told = np.concatenate([values[rows], known.mean(FEATURES[pending])])
    expected = Posterior(kernel, ENCODING, every, told, np.zeros(31))(FEATURES)
    got = Posterior(kernel, ENCODING, FEATURES[rows], values[rows], np.zeros(20), FEATURES[pending])(FEATURES)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    assert (got[1] <= known(FEATURES)[1] + 1e-9).all()
    assert (got[1][pending] < 0.9 * known(FEATURES)[1][pending]).any()


def test_a_covariance_that_rounding_left_indefinite_is_factored_and_any_other_is_refused() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3))
    rank_three = values @ values.T  # positive semidefinite, but slightly indefinite by rounding
    assert np.linalg.eigvalsh(rank_three)[0] < 0
    factor = cholesky(rank_three)
    np.testing.assert_allclose(factor @ factor.T, rank_three, atol=1e-3)
    whole = rank_three + np.eye(40)
    np.testing.assert_array_equal(cholesky(whole), np.linalg.cholesky(whole))
    np.testing.assert_allclose(inverse(whole) @ whole, np.eye(40), atol=1e-9)
    for bad in (np.diag([1.0, -1.0]), np.full((2, 2), np.nan), np.array([[1.0, np.inf], [np.inf, 1.0]])):
        with pytest.raises(InputError, match="not positive definite"):
            inverse(bad)
