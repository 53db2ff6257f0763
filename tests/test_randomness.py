import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecotone.randomness import SampleRandom, stream_seeds

seeds = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5)


@given(seeds, st.integers(1, 9), st.integers(1, 9))
def test_a_stream_depends_on_its_own_seed_alone(values, a, b):
    together = SampleRandom(torch.tensor(values))
    first, second = together.uniform(a), together.uniform(b)
    for row, seed in enumerate(values):
        alone = SampleRandom(torch.tensor([seed]))
        assert torch.equal(alone.uniform(a)[0], first[row])
        assert torch.equal(alone.uniform(b)[0], second[row])


@given(seeds, st.integers(1, 6), st.integers(1, 6))
def test_how_numbers_are_asked_for_does_not_change_them(values, a, b):
    at_once = SampleRandom(torch.tensor(values)).uniform(a * b)
    shaped = SampleRandom(torch.tensor(values)).uniform(a, b)
    assert torch.equal(at_once, shaped.flatten(1))
    steps = SampleRandom(torch.tensor(values))
    assert torch.equal(torch.cat([steps.uniform(b) for _ in range(a)], 1), at_once)


def test_numbers_are_uniform():
    x = SampleRandom(torch.arange(2000)).uniform(100).double()
    assert x.min() >= 0 and x.max() < 1
    n = x.numel()
    assert abs(x.mean() - 0.5) < 4.5 * math.sqrt(1 / 12 / n)
    assert abs(x.var() - 1 / 12) < 4.5 * math.sqrt(1 / 180 / n)
    counts = torch.histc(x.float(), bins=64, min=0, max=1).double()
    chi2 = ((counts - n / 64).square() / (n / 64)).sum()
    assert chi2 < 63 + 4.5 * math.sqrt(2 * 63)


@pytest.mark.parametrize("near", ["seeds", "numbers"])
def test_neighbours_are_not_correlated(near):
    x = SampleRandom(torch.arange(3000)).uniform(60).double() - 0.5
    a, b = (x[1:], x[:-1]) if near == "seeds" else (x[:, 1:], x[:, :-1])
    correlation = (a * b).mean() * 12
    assert abs(correlation) < 4.5 / math.sqrt(a.numel())


def test_the_published_numbers_of_splitmix64():
    # Vigna's splitmix64.c, seed 1234567: the mixing function over multiples of the golden gamma.
    from ecotone.randomness import _GOLDEN, _mix

    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    found = _mix(torch.tensor(1234567) + torch.arange(1, 6) * _GOLDEN)
    assert [v % 2**64 for v in found.tolist()] == expected


@pytest.mark.parametrize("device", [d for d in ("cuda", "mps") if getattr(torch, d).is_available()] or ["cpu"])
def test_the_numbers_are_the_same_on_every_device(device):
    values = torch.tensor([0, 1, -1, 2**62, -(2**63)])
    here, there = SampleRandom(values).uniform(1000), SampleRandom(values.to(device)).uniform(1000)
    assert torch.equal(here, there.cpu())
    assert there.device.type == device


def test_the_numbers_are_frozen():
    # Checkpoints of earlier versions resume with these numbers.
    found = SampleRandom(stream_seeds(0, 0, torch.arange(2))).uniform(2)
    torch.testing.assert_close(
        found,
        torch.tensor([[0.8833107948303223, 0.4315279722213745], [0.25588518381118774, 0.08832383155822754]]),
        rtol=0,
        atol=0,
    )


def test_seeds_differ_by_run_epoch_and_index():
    found = [stream_seeds(s, e, torch.arange(100)) for s in (0, 1, 2) for e in (0, 1, 2)]
    assert len(set(torch.cat(found).tolist())) == 900


def test_seeds_of_an_index_do_not_depend_on_its_neighbours():
    assert stream_seeds(3, 4, torch.tensor([7])) == stream_seeds(3, 4, torch.arange(20))[7]
