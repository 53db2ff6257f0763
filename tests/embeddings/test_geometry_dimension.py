from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_swiss_roll

from ecotone.embeddings.geometry.dimension import (
    inverse_local_dimensions,
    local_dimensions,
    mle_dimension,
    two_nn,
    two_nn_of,
)
from ecotone.embeddings.geometry.neighbours import nearest_neighbours


def turned(points, ambient, seed=0):
    """The points in a higher space, along random directions."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(ambient, points.shape[1])))[0]
    return points @ basis.T


def gaussian(d, n=3000):
    return turned(np.random.default_rng(d).normal(size=(n, d)), 40)


def sphere(d, n=3000):
    points = np.random.default_rng(d).normal(size=(n, d + 1))
    return turned(points / np.linalg.norm(points, axis=1, keepdims=True), 40)


def noisy_plane(d, n=3000):
    return gaussian(d, n) + 1e-3 * np.random.default_rng(1).normal(size=(n, 40))


MANIFOLDS = {
    "gaussian 2": (gaussian(2), 2),
    "gaussian 5": (gaussian(5), 5),
    "sphere 2": (sphere(2), 2),
    "sphere 6": (sphere(6), 6),
    "subspace of 3 with noise": (noisy_plane(3), 3),
    "swiss roll": (make_swiss_roll(3000, random_state=0)[0], 2),
}


@pytest.mark.parametrize("name", MANIFOLDS)
def test_manifolds_have_their_dimension(name):
    points, expected = MANIFOLDS[name]
    distance = nearest_neighbours(points, 16).distance
    assert two_nn(distance) == pytest.approx(expected, rel=0.1)
    assert mle_dimension(distance) == pytest.approx(expected, rel=0.12)
    assert np.median(local_dimensions(distance)) == pytest.approx(expected, rel=0.15)


@given(d=st.floats(0.5, 30), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_exact_power_laws_give_their_exponent(d, seed):
    # Where (r_j / r_k)^d is uniform, as in a ball of d dimensions, the mean inverse has no bias.
    random = np.random.default_rng(seed)
    radii = np.sort(random.uniform(size=(4000, 9)), 1) ** (1 / d)
    distance = np.concatenate([radii, np.ones((4000, 1))], 1)
    assert mle_dimension(distance) == pytest.approx(d, rel=0.03)
    ratio = random.uniform(size=4000) ** (-1 / d)  # P(mu > m) = m^-d
    assert two_nn(np.stack([np.ones(4000), ratio], 1)) == pytest.approx(d, rel=0.08)


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 20))
@settings(max_examples=10, deadline=None)
def test_rotation_and_scaling_change_no_dimension(scale, seed):
    points = np.random.default_rng(seed).normal(size=(200, 6)) * np.arange(1, 7)
    one, other = (nearest_neighbours(p, 8) for p in (points, scale * turned(points, 6, seed)))
    assert (one.index == other.index).all()
    assert two_nn(other.distance) == pytest.approx(two_nn(one.distance), rel=1e-6)
    assert local_dimensions(other.distance) == pytest.approx(local_dimensions(one.distance), rel=1e-4)


def test_rows_with_a_duplicate_are_left_out():
    points = gaussian(4, 1000)
    doubled = nearest_neighbours(np.concatenate([points, points[:100]]), 8).distance
    alone = doubled[100:1000]
    assert np.isnan(inverse_local_dimensions(doubled)).sum() == 200
    assert mle_dimension(doubled) == mle_dimension(alone) and two_nn(doubled) == two_nn(alone)
    assert np.isnan(mle_dimension(np.zeros((5, 4)))) and np.isnan(two_nn(np.zeros((5, 4))))


def test_counting_a_row_twice_is_having_it_twice():
    distance = nearest_neighbours(gaussian(3, 300), 4).distance
    counts = np.random.default_rng(0).integers(0, 4, 300)
    counted = two_nn_of(distance)(counts[None].astype(float))[0]
    assert counted == pytest.approx(two_nn(distance.repeat(counts, 0)), rel=0.02)
