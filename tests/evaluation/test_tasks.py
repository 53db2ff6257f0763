"""kNN, probes and retrieval for several classes and for values, against scikit-learn, torchmetrics and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, f1_score, root_mean_squared_error
from sklearn.neighbors import KNeighborsRegressor
from torchmetrics.functional.retrieval import retrieval_recall

from ecotone.data.base import DatasetInfo
from ecotone.errors import DataError, RecipeError
from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.protocols import KNN, KNNGrid, LinearProbe, Retrieval
from ecotone.evaluation.tasks import Classification, MultiLabel, Regression, task_of
from ecotone.heads import knn
from ecotone.heads.thresholds import best_thresholds

NAMES = tuple("abcd")


def several(n, seed) -> FeatureSet:
    g = torch.Generator().manual_seed(seed)
    truth = (torch.rand(n, 4, generator=g) < 0.35).float()
    mixing = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    return FeatureSet(truth @ mixing + 0.8 * torch.randn(n, 10, generator=g), truth)


def values(n, seed) -> FeatureSet:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=g)
    return FeatureSet(x, 5 + x[:, 0] * 3 - x[:, 1] + 0.5 * torch.randn(n, generator=g))


def single(n, seed) -> FeatureSet:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (n,), generator=g)
    centres = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    return FeatureSet(centres[y] + 1.5 * torch.randn(n, 10, generator=g), y)


def test_knn_of_several_classes_gives_the_weighted_share_of_neighbours():
    train, test = several(60, 1), several(20, 2)
    scores = KNN(k=7).select(train, train, MultiLabel(NAMES)).predict(test.features)
    unit = torch.nn.functional.normalize
    cosine = unit(test.features, dim=1) @ unit(train.features, dim=1).T
    for row, similarity in zip(scores, cosine, strict=True):
        best = similarity.argsort(descending=True)[:7]
        weight = (similarity[best] / 0.07).exp()
        torch.testing.assert_close(row, (weight[:, None] * train.labels[best]).sum(0) / weight.sum())


def test_knn_of_values_is_scikit_learns_weighted_mean():
    train, test = values(80, 1), values(30, 2)
    oracle = KNeighborsRegressor(9, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07), algorithm="brute")
    expected = oracle.fit(train.features, train.labels).predict(test.features)
    found = KNN(k=9).select(train, train, Regression()).predict(test.features)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "task"), [(single, Classification(NAMES)), (several, MultiLabel(NAMES)), (values, Regression())]
)
def test_the_k_that_val_prefers_is_taken_and_the_largest_among_equals(make, task):
    train, val, test = make(150, 1), make(60, 2), make(60, 3)
    chosen = KNNGrid().select(train, val, task)
    on_val = {}
    for k in KNNGrid().grid:
        head = KNN(k=k).select(train, val, task)
        on_val[min(k, 150)] = task.main.gain(task.main.value(head.answer(val)))
    best = max(v for v in on_val.values())
    assert chosen.settings["k"] == max(k for k, v in on_val.items() if v == best)
    again = KNN(k=chosen.settings["k"]).select(train, val, task)
    assert chosen.predict(test.features).equal(again.predict(test.features))


def test_one_against_the_rest_is_scikit_learns_at_the_c_that_val_prefers():
    train, val, test = several(150, 1), several(60, 2), several(80, 3)
    head = LinearProbe().select(train, val, MultiLabel(NAMES))

    def probabilities(c, x):
        fits = [LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(train.features, y) for y in train.labels.T]
        return np.stack([f.predict_proba(x)[:, 1] for f in fits], 1)

    on_val = [
        average_precision_score(val.labels, probabilities(c, val.features), average="micro") for c in LinearProbe().grid
    ]
    assert head.settings["C"] == LinearProbe().grid[int(np.argmax(on_val))]
    assert head.settings["val_micro_map"] == pytest.approx(max(on_val), abs=1e-3)
    expected = probabilities(head.settings["C"], test.features)
    np.testing.assert_allclose(head.predict(test.features).numpy(), expected, atol=5e-3)


def test_classes_that_all_or_no_train_images_have_are_said_with_certainty():
    train = several(40, 1)
    train.labels[:, 0], train.labels[:, 1] = 1, 0
    scores = LinearProbe().select(train, train, MultiLabel(NAMES)).predict(train.features)
    assert scores[:, 0].min() == 1 and scores[:, 1].max() < 1e-12
    train.labels[:] = 1
    with pytest.raises(RecipeError, match="others have not"):
        LinearProbe().select(train, train, MultiLabel(NAMES))


def test_ridge_is_scikit_learns_at_the_alpha_that_val_prefers():
    train, val, test = values(60, 1), values(60, 2), values(60, 3)
    head = LinearProbe().select(train, val, Regression())
    models = [Ridge(alpha=a).fit(train.features, train.labels) for a in LinearProbe().alphas]
    errors = [root_mean_squared_error(val.labels, m.predict(val.features)) for m in models]
    best = int(np.argmin(errors))
    assert head.settings["alpha"] == LinearProbe().alphas[best]
    assert head.settings["val_rmse"] == pytest.approx(errors[best], rel=1e-4)
    np.testing.assert_allclose(head.predict(test.features).numpy(), models[best].predict(test.features), rtol=1e-3)


def test_thresholds_reach_the_best_f1_that_any_threshold_could():
    g = torch.Generator().manual_seed(0)
    truth = (torch.rand(50, 3, generator=g) < 0.3).float()
    scores = ((truth + torch.randn(50, 3, generator=g)).sigmoid() * 20).round() / 20
    found = best_thresholds(scores, truth)
    for c in range(3):
        every = [f1_score(truth[:, c], scores[:, c] >= t) for t in scores[:, c].unique()]
        assert f1_score(truth[:, c], scores[:, c] >= found[c]) == pytest.approx(max(every))


def test_a_class_without_a_positive_in_val_takes_the_common_threshold():
    scores, truth = torch.tensor([[0.9, 0.8], [0.2, 0.1]]), torch.tensor([[1.0, 0], [0, 0]])
    assert best_thresholds(scores, truth).tolist() == pytest.approx([0.55, 0.85])
    assert best_thresholds(scores, truth * 0).isinf().all()


@pytest.mark.parametrize(("make", "task"), [(single, Classification(NAMES)), (several, MultiLabel(NAMES))])
def test_retrieval_equals_a_plain_loop_and_torchmetrics(make, task):
    train, test = make(70, 1), make(25, 2)
    answers = Retrieval(k=10).select(train, train, task).answer(test)
    unit = torch.nn.functional.normalize
    cosine = unit(test.features, dim=1) @ unit(train.features, dim=1).T
    for i, similarity in enumerate(cosine):
        label = test.labels[i]
        relevant = (train.labels == label) if label.ndim == 0 else (train.labels * label).any(1)
        hits = relevant[similarity.argsort(descending=True)[:10]].tolist()
        precision = [sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit]
        total = int(relevant.sum())
        assert answers.each["map_at_k"][i] == pytest.approx(sum(precision) / max(1, min(10, total)))
        if total:
            expected = retrieval_recall(similarity, relevant, top_k=10)
            assert answers.each["recall_at_k"][i] == pytest.approx(float(expected), abs=1e-6)


def test_average_precision_of_the_whole_gallery_is_scikit_learns():
    train, test = single(50, 1), single(12, 2)
    answers = Retrieval(k=50).select(train, train, Classification(NAMES)).answer(test)
    unit = torch.nn.functional.normalize
    cosine = unit(test.features, dim=1) @ unit(train.features, dim=1).T
    expected = [average_precision_score(train.labels == y, s) for y, s in zip(test.labels, cosine, strict=True)]
    assert answers.each["map_at_k"].tolist() == pytest.approx(expected)


def test_chance_of_retrieval_is_what_random_orders_give_on_average():
    train, test = single(40, 1), single(6, 2)
    expected = Retrieval(k=8).chance(train, train, Classification(NAMES)).answer(test)
    g = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(1500):
        noise = FeatureSet(torch.randn(40, 64, generator=g), train.labels)
        asked = FeatureSet(torch.randn(6, 64, generator=g), test.labels)
        drawn.append(Retrieval(k=8).select(noise, noise, Classification(NAMES)).answer(asked).each)
    for name, value in expected.each.items():
        torch.testing.assert_close(torch.stack([d[name] for d in drawn]).mean(0), value, atol=0.02, rtol=0)


def test_retrieval_of_values_is_refused():
    with pytest.raises(RecipeError, match="needs classes"):
        Retrieval().metrics(Regression())


def test_chance_knows_the_train_labels_alone():
    many, some = several(50, 1), values(50, 1)
    frequencies = KNN().chance(many, many, MultiLabel(NAMES)).answer(several(3, 2))
    torch.testing.assert_close(frequencies.scores, many.labels.mean(0).expand(3, 4))
    assert KNN().chance(some, some, Regression()).answer(values(3, 2)).decisions.unique() == some.labels.mean()


def test_neighbours_in_blocks_are_those_of_one_product(monkeypatch):
    g = torch.Generator().manual_seed(0)
    train, queries = torch.randn(300, 6, generator=g), torch.randn(37, 6, generator=g)
    whole = knn.neighbours(train, queries, 12)
    monkeypatch.setattr(knn, "QUERIES", 5)
    monkeypatch.setattr(knn, "BANK", 7)
    blocks = knn.neighbours(train, queries, 12)
    torch.testing.assert_close(whole[0], blocks[0])
    assert whole[1].equal(blocks[1])


def test_tasks_about_pixels_are_refused_by_name():
    with pytest.raises(DataError, match="segmentation"):
        task_of(DatasetInfo("d", task="segmentation"))
