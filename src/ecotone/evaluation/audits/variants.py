"""The same encoder with another input or another readout."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ecotone.data.base import Dataset
from ecotone.encoders import Encoder, Readout
from ecotone.evaluation.contestants import Entrant, encoder_contestants
from ecotone.evaluation.extraction import Extraction
from ecotone.evaluation.features import FeatureSet, Standardiser
from ecotone.evaluation.setup import Setup
from ecotone.inputs import InputSpec


def variant(encoder: Encoder, *, spec: InputSpec | None = None, readout: Readout | None = None) -> Encoder:
    """The encoder with another spec or readout; the weights are shared, the encoder itself stays as it is."""
    twin = copy.copy(encoder)
    twin.spec, twin.readout = spec or encoder.spec, readout or encoder.readout
    return twin


class Variants:
    """Features of variants of encoders at the largest scale, standardised by train.

    Args:
        setup: The evaluation.
        encoders: Name -> encoder.
    """

    def __init__(self, setup: Setup, encoders: Mapping[str, Encoder]) -> None:
        entrants = [Entrant(name, encoder) for name, encoder in encoders.items()]
        self.setup = replace(setup, entrants=entrants, contestants=encoder_contestants(entrants, setup.tell))
        self._extraction = Extraction(self.setup)
        self._standard: dict[str, Standardiser] = {}

    def train_and_val(self) -> tuple[dict[str, FeatureSet], dict[str, FeatureSet]]:
        """Name -> features of train, and of val."""
        splits = self.setup.splits
        view = self.setup.plan.train_view(self.setup.plan.train_scale(max(self.setup.scales())))
        train = self._extraction.features(splits.train, "train", view, view)
        val = self._extraction.features(splits.val, "val", view, view)
        self._standard = {name: self.setup.standardiser(each[0].features) for name, each in train.items()}
        return self._scaled(train), self._scaled(val)

    def _scaled(self, found: Mapping[str, Sequence[FeatureSet]]) -> dict[str, FeatureSet]:
        return {n: FeatureSet(self._standard[n](f[0].features), f[0].labels) for n, f in found.items()}

    def test(self, dataset: Dataset) -> dict[str, FeatureSet]:
        """Name -> features of the test split."""
        scale = max(self.setup.scales())
        plan = self.setup.plan
        train_view = plan.train_view(plan.train_scale(scale))
        return self._scaled(self._extraction.features(dataset, "test", plan.test_view(scale), train_view))
