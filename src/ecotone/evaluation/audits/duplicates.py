"""Near-duplicates between the splits of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ecotone.data.audit import describe
from ecotone.data.base import Dataset
from ecotone.data.duplicates import CORRELATION, RADIUS, Fingerprints, Pair, fingerprints, near_duplicates
from ecotone.data.joined import Joined
from ecotone.evaluation.audits.base import Finding
from ecotone.evaluation.scoring import Preparation
from ecotone.evaluation.setup import Setup
from ecotone.evaluation.splits import Selection

RULE = {"hash_bits": float(RADIUS), "correlation": CORRELATION}
FACTS = {"audit": "duplicates", **RULE}


def duplicates(setup: Setup, selection: Selection, made: Preparation) -> Finding:
    """Compare all images of all splits with each other; see ``ecotone.data.audit``."""
    splits = setup.splits
    whole = Joined({"train": splits.train, "val": splits.val, "test": splits.test_for(selection)})
    found = describe(whole, *_compared(setup, whole), RULE)
    return Finding(
        name="duplicates",
        title="Near-duplicates between the splits",
        note="Images whose perceptual hashes agree and whose pixels correlate.",
        settings=dict(RULE),
        warnings=found.about_twins(),
        facts=found.to_dict(),
    )


def _compared(setup: Setup, whole: Dataset) -> tuple[Fingerprints, list[Pair]]:
    """Fingerprints and near-duplicates, from the cache where it has them."""
    kept = setup.cache and setup.cache.load(FACTS)
    if kept:
        found = Fingerprints(kept["hashes"].numpy().view("uint64"), kept["usable"].numpy(), {})
        listed = zip(kept["pairs"].tolist(), kept["correlations"].tolist(), strict=True)
        return found, [Pair(first, second, bits, alike) for (first, second, bits), alike in listed]

    def follow(steps: Sequence[int]) -> Iterator[int]:
        for done, step in enumerate(steps, 1):
            yield step
            if setup.on_progress:
                setup.on_progress("near-duplicates", done, len(steps))

    found = fingerprints(whole, follow)
    pairs = near_duplicates(whole, found)
    if setup.cache and not found.broken:
        tensors = {
            "hashes": torch.from_numpy(found.hashes.view("int64")),
            "usable": torch.from_numpy(found.usable),
            "pairs": torch.tensor([(p.first, p.second, p.distance) for p in pairs], dtype=torch.int64).reshape(-1, 3),
            "correlations": torch.tensor([p.correlation for p in pairs], dtype=torch.float64),
        }
        setup.cache.save(FACTS, tensors)
    return found, pairs
