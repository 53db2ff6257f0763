from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ecotone.errors import RecipeError
from ecotone.evaluation import evaluate
from ecotone.evaluation.features import FeatureSet, Standardiser
from ecotone.evaluation.protocols import KNN, LinearProbe, protocol
from ecotone.evaluation.tasks import Classification
from ecotone.heads.knn import knn_scores
from ecotone.samples import collate


def blobs(n, *, seed, classes=4, width=12, spread=1.4) -> FeatureSet:
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    return FeatureSet(centres[y] + spread * torch.randn(n, width, generator=g), y)


def test_knn_equals_a_plain_double_loop():
    train, test = blobs(50, seed=1), blobs(20, seed=2)
    expected = []
    for query in test.features.double().numpy():
        bank = train.features.double().numpy()
        cosine = bank @ query / np.linalg.norm(bank, axis=1) / np.linalg.norm(query)
        votes = np.zeros(4)
        for i in np.argsort(-cosine)[:7]:
            votes[train.labels[i]] += np.exp(cosine[i] / 0.07)
        expected.append(votes / votes.sum())
    scores = KNN(k=7).select(train, train, Classification()).predict(test.features)
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-5)


def test_knn_takes_all_neighbours_when_there_are_fewer_than_k():
    train = blobs(5, seed=1)
    assert KNN().select(train, train, Classification()).settings == {"k": 5, "temperature": 0.07}


def test_equal_votes_go_to_the_first_class():
    train = FeatureSet(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([3, 1]))
    test = FeatureSet(torch.tensor([[1.0, 0.0]]), torch.tensor([3]))
    assert KNN().select(train, train, Classification()).answer(test).decisions.tolist() == [1]


def test_the_linear_probe_is_scikit_learns_at_the_c_that_val_prefers():
    train, val, test = blobs(200, seed=1), blobs(80, seed=2), blobs(300, seed=3)
    probe = LinearProbe()
    chosen = probe.select(train, val, Classification())
    models = [LogisticRegression(C=c, max_iter=5000, tol=1e-6).fit(train.features, train.labels) for c in probe.grid]
    on_val = [m.score(val.features, val.labels) for m in models]
    best = int(np.argmax(on_val))
    assert chosen.settings == {"C": probe.grid[best], "val_accuracy": pytest.approx(on_val[best]), "converged": True}
    expected = models[best].predict_proba(test.features)
    np.testing.assert_allclose(chosen.predict(test.features).numpy(), expected, atol=5e-3)


def test_the_linear_probe_handles_two_classes_and_absent_ones():
    train = FeatureSet(torch.tensor([[-1.0], [-2.0], [1.0], [2.0]]), torch.tensor([1, 1, 3, 3]))
    chosen = LinearProbe().select(train, train, Classification())
    assert chosen.answer(FeatureSet(torch.tensor([[-3.0], [3.0]]), train.labels[:2])).decisions.tolist() == [1, 3]


def test_one_class_is_refused():
    train = FeatureSet(torch.randn(4, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(RecipeError, match="two classes"):
        LinearProbe().select(train, train, Classification())


def test_an_unconverged_head_says_so():
    train = blobs(200, seed=1, spread=3.0)
    assert LinearProbe(grid=(100.0,), max_iter=2).select(train, train, Classification()).settings["converged"] is False


def test_features_are_standardised_by_the_train_statistics_and_constant_ones_do_no_harm():
    train = torch.cat([torch.randn(40, 3) * 5 + 2, torch.full((40, 1), 7.0)], 1)
    out = Standardiser.of(train)(train)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.tensor([1.0, 1, 1, 0]), atol=1e-5, rtol=0)


def test_a_misspelt_protocol_gets_a_suggestion():
    with pytest.raises(RecipeError, match="Did you mean 'linear'"):
        protocol("linaer")


def test_without_standardisation_knn_is_that_of_the_released_code(make_splits, tiny_encoder):
    splits, encoder = make_splits(), tiny_encoder()
    report = evaluate([encoder], splits, scales=(1,), protocols=["knn"], floors=False, standardise=False)
    assert report.contract.standardise == "none"
    found = {}
    for name in ("train", "test"):
        samples = [splits[name][i] for i in range(len(splits[name]))]
        with torch.inference_mode():
            found[name] = encoder.eval()(collate(samples)).pooled
    labels = {n: torch.tensor([splits[n][i].targets["label"] for i in range(len(splits[n]))]) for n in found}
    votes = knn_scores(found["train"], labels["train"], found["test"], classes=int(labels["train"].max()) + 1)
    accuracy = (votes.argmax(1) == labels["test"]).double().mean()
    assert report.rows[0].value == pytest.approx(float(accuracy))
    standardised = evaluate([encoder], splits, scales=(1,), protocols=["knn"], floors=False)
    assert standardised.contract.hash != report.contract.hash
