from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.stats import skew, spearmanr

from ecotone.embeddings.geometry.neighbours import hubness, k_occurrence, nearest_neighbours
from ecotone.embeddings.geometry.retrieval import label_precision, rank_correlation_of, spatial_recall
from ecotone.embeddings.geometry.spectrum import (
    anisotropy,
    anisotropy_of,
    effective_rank,
    participation_ratio,
    principal_directions,
)
from ecotone.embeddings.geometry.tangents import alignment, principal_angles, random_rotation, rotation, tangent_spaces
from ecotone.embeddings.sampling import unit_rows


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)


def test_neighbours_are_those_of_all_distances(points):
    points[7] = points[3]
    away = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
    np.fill_diagonal(away, np.inf)
    found = nearest_neighbours(points, 5)
    assert found.distance == pytest.approx(np.sort(away, 1)[:, :5], abs=1e-4)
    assert found.distance[3, 0] == 0 and found.index[3, 0] == 7
    assert (found.index[100:, 0] == away[100:].argmin(1)).all()


def test_hubness_is_the_skewness_of_the_occurrence(points):
    occurrence = k_occurrence(nearest_neighbours(points, 5).index)
    assert occurrence.sum() == 5 * 300 and hubness(occurrence) == pytest.approx(skew(occurrence))
    assert hubness(np.full(9, 4)) == 0
    far = np.random.default_rng(0).normal(size=(1000, 100))
    assert hubness(k_occurrence(nearest_neighbours(far, 5).index)) > 1 + hubness(occurrence)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_the_spectrum_counts_between_one_and_all_directions(variances):
    v = np.array(variances)
    ratio, rank = participation_ratio(v), effective_rank(v)
    assert 1 - 1e-9 <= ratio <= rank * (1 + 1e-9) and rank <= len(v) * (1 + 1e-9)
    assert participation_ratio(7 * v) == pytest.approx(ratio) and effective_rank(7 * v) == pytest.approx(rank)


def test_equal_variances_count_fully_and_none_counts_nothing():
    equal = np.array([2.0, 2, 2, 0])
    assert participation_ratio(equal) == pytest.approx(3) and effective_rank(equal) == pytest.approx(3)
    assert participation_ratio(np.zeros(3)) == effective_rank(np.zeros(3)) == 0


def test_principal_directions_are_those_of_the_covariance(points):
    values, directions = principal_directions(points)
    assert values == pytest.approx(np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2 / 300, rel=1e-4)
    assert ((points - points.mean(0)) @ directions.T).var(0) == pytest.approx(values, rel=1e-3)


def test_anisotropy_is_the_mean_cosine_of_all_pairs(points):
    shifted = points + 2
    cosines = unit_rows(shifted) @ unit_rows(shifted).T
    assert anisotropy(shifted) == pytest.approx(cosines[np.triu_indices(300, 1)].mean(), rel=1e-4)
    assert anisotropy(3 * shifted) == pytest.approx(anisotropy(shifted)) and abs(anisotropy(points)) < 0.01
    counts = np.random.default_rng(0).integers(0, 3, 300)
    rows = np.repeat(np.arange(300), counts)
    pairs = cosines[np.ix_(rows, rows)][rows[:, None] != rows]
    weights = counts.sum() ** 2 - (counts**2).sum()
    assert anisotropy_of(shifted)(counts[None].astype(float))[0] == pytest.approx(pairs.sum() / weights, rel=1e-4)


def test_principal_angles_agree_with_scipy():
    random = np.random.default_rng(0)
    one, other = (np.linalg.qr(random.normal(size=(20, 9, 4)))[0].swapaxes(1, 2) for _ in range(2))
    for a, b, angles in zip(one, other, principal_angles(one, other), strict=True):
        assert angles == pytest.approx(np.degrees(subspace_angles(a.T, b.T))[::-1], abs=1e-6)
    assert rotation(one, one) == pytest.approx(0, abs=1e-5)
    mixed = np.linalg.qr(random.normal(size=(4, 4)))[0] @ one
    assert rotation(mixed, other) == pytest.approx(rotation(one, other))  # of the spaces, not of their bases


def test_a_flat_space_does_not_turn_and_a_circle_turns_by_its_angle():
    flat = np.zeros((500, 8))
    flat[:, :3] = np.random.default_rng(0).normal(size=(500, 3))
    near = nearest_neighbours(flat, 12).index
    spaces = tangent_spaces(flat, np.arange(500), near, 3)
    assert rotation(spaces, spaces[near[:, -1]]).max() < 1e-4
    assert alignment(spaces, np.eye(8)[:3]) == pytest.approx(1)
    assert alignment(spaces, np.eye(8)[5:]) == pytest.approx(0, abs=1e-9)
    angles = np.radians(np.arange(360))
    circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    near = nearest_neighbours(circle, 8).index
    tangents = tangent_spaces(circle, np.arange(360), near, 1)
    assert rotation(tangents, np.roll(tangents, 30, 0)) == pytest.approx(30, abs=0.5)


def test_unrelated_spaces_turn_as_random_ones_and_align_by_chance():
    random = np.random.default_rng(1)
    spaces = np.linalg.qr(random.normal(size=(2000, 16, 4)))[0].swapaxes(1, 2)
    assert rotation(spaces[:1000], spaces[1000:]).mean() == pytest.approx(random_rotation(4, 16, pairs=1000), rel=0.02)
    assert alignment(spaces, np.eye(16)[:4]).mean() == pytest.approx(4 / 16, rel=0.05)


def boxes_at(lon, lat, size=0.01):
    return np.stack([lon - size, lat - size, lon + size, lat + size], 1)


@pytest.mark.parametrize(("west", "south"), [(11.0, 48.0), (-180.0, -17.0)])
def test_vectors_that_are_places_find_their_neighbours_on_the_ground(west, south):
    random = np.random.default_rng(0)
    east, north = random.uniform(0, 1, 400), random.uniform(0, 1, 400)
    lon = (west - 0.5 + east + 180) % 360 - 180  # around the antimeridian in the second case
    boxes = boxes_at(lon, south + north)
    places = np.stack([east * np.cos(np.radians(south + 0.5)), north], 1)
    assert spatial_recall(nearest_neighbours(places, 6).index, boxes).mean() > 0.95
    lost = spatial_recall(random.integers(0, 400, (400, 6)), boxes).mean()
    assert lost == pytest.approx(6 / 399, abs=0.02)


def test_label_precision_counts_neighbours_of_the_same_label():
    index = np.array([[1, 2], [0, 2], [0, 1], [0, 1]])
    assert label_precision(index, np.array([3, 3, 5, -1]))[:3].tolist() == [0.5, 0.5, 0]
    assert np.isnan(label_precision(index, np.array([3, 3, 5, -1]))[3])


@given(seed=st.integers(0, 99), rows=st.integers(5, 60))
@settings(max_examples=20, deadline=None)
def test_rank_correlation_agrees_with_scipy(seed, rows):
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 9, rows).astype(float), random.normal(size=rows)
    one[0] += 20
    other[1] = np.nan
    kept = np.isfinite(other)
    expected = spearmanr(one[kept], other[kept]).statistic
    assert rank_correlation_of(one, other)(np.ones((1, rows)))[0] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(rank_correlation_of(np.ones(rows), other)(np.ones((1, rows))))[0]
