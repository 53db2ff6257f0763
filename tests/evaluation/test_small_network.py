from __future__ import annotations

import pytest
import torch

from ecotone.evaluation import evaluate, small_network
from ecotone.evaluation.small_network import SmallNetwork
from ecotone.evaluation.tasks import Classification, MultiLabel, Regression


def patterns(n, seed):
    """Images whose stripes run one way or the other, which no mean or histogram tells apart; red brightness varies."""
    g = torch.Generator().manual_seed(seed)
    upright, red = torch.randint(2, (n,), generator=g), torch.rand(n, generator=g)
    stripes = (torch.arange(16) // 2 % 2).float() * 60
    image = torch.where(upright.view(n, 1, 1).bool(), stripes.view(1, 1, 16), stripes.view(1, 16, 1))
    pixels = image[:, None] + torch.zeros(n, 3, 16, 16) + 10 * torch.randn(n, 3, 16, 16, generator=g)
    pixels[:, 0] += 100 * red.view(n, 1, 1)
    return pixels, upright, red


LABELS = {
    "classification": (Classification(("across", "upright")), lambda u, r: (r > 0.5).long()),
    "multilabel": (MultiLabel(("bright", "dark")), lambda u, r: torch.stack([r > 0.5, r <= 0.5], 1).float()),
    "regression": (Regression(), lambda u, r: 1000 + 50 * r),
}


@pytest.mark.parametrize("name", LABELS)
def test_it_learns_each_task_better_than_chance(monkeypatch, name):
    monkeypatch.setattr(small_network, "BUDGET", 1500)
    task, label = LABELS[name]
    (train, *facts), (val, *more) = patterns(200, 0), patterns(80, 1)
    network = SmallNetwork((train, label(*facts)), (val, label(*more)), task)
    test, *known = patterns(80, 2)
    with torch.no_grad():
        scores = network.head(network.body(network._scaled(test)))
    truth = label(*known)
    if name == "regression":
        assert ((scores[:, 0] * network.scaling[1] + network.scaling[0]) - truth).pow(
            2
        ).mean().sqrt() < 0.5 * truth.std()
    elif name == "multilabel":
        assert ((scores > 0) == truth.bool()).float().mean() > 0.8
    else:
        assert (scores.argmax(1) == truth).float().mean() > 0.8


def test_it_depends_on_its_seed_alone():
    train, val = patterns(30, 0), patterns(20, 1)
    state = torch.get_rng_state()
    task = Classification(("a", "b"))
    a, b, c = (SmallNetwork(train[:2], val[:2], task, seed=s).head.weight for s in (0, 0, 1))
    assert a.equal(b) and not a.equal(c)
    assert torch.get_rng_state().equal(state)


def test_the_state_that_stays_is_the_best_on_val(monkeypatch):
    found = []
    plain = SmallNetwork._on_val
    monkeypatch.setattr(SmallNetwork, "_on_val", lambda *a: found.append(plain(*a)) or found[-1])
    train, val = patterns(60, 0), patterns(40, 1)
    network = SmallNetwork(train[:2], val[:2], Classification(("a", "b")))
    checked, found = list(found), []
    with torch.no_grad():
        right = (network.head(network.body(network._scaled(val[0]))).argmax(1) == val[1]).float().mean().item()
    assert len(checked) > 1 and right == pytest.approx(max(checked), abs=1e-6)


def test_one_train_image_and_a_label_without_spread_are_no_obstacle():
    train, val = patterns(1, 0), patterns(5, 1)
    network = SmallNetwork((train[0], train[2]), (val[0], val[2]), Regression())
    assert all(p.isfinite().all() for p in network.head.parameters())


def test_more_train_images_than_its_budget_leave_it_out_with_a_note(monkeypatch, make_splits, tiny_encoder):
    monkeypatch.setattr("ecotone.evaluation.floor_list.BUDGET", 50)
    report = evaluate([tiny_encoder()], make_splits(), scales=(1,), protocols=["knn"])
    assert "small network from scratch" not in {r.encoder for r in report.rows}
    assert any("small network from scratch is left out" in text and "60" in text for text in report.caveats)
