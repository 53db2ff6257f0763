"""The contract: the frozen settings of an evaluation. Two scores compare only under one contract."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ecotone.encoders import Readout
from ecotone.evaluation.gsd_policy import GsdPolicy
from ecotone.inputs import InputSpec


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelInput(_Frozen):
    """How pixels enter an encoder and features leave it."""

    spec: InputSpec
    readout: Readout


class Data(_Frozen):
    """Which samples, in which split.

    Attributes:
        name: Name of the dataset.
        content: SHA-256 of its files; None for datasets that are open already.
        manifest: SHA-256 of keys and labels.
        split: SHA-256 of which key belongs to which split, in order.
        split_kind: How the splits were made.
        n: Samples in each split.
        label_unit: Unit of the labels, where they are values.
        sensor: Sensor of the images, where it is declared.
        bands: Their bands, where they are declared.
        unit: Unit of their values; None for the sensor's.
    """

    name: str
    content: str | None = None
    manifest: str
    split: str
    split_kind: str | None
    n: dict[str, int]
    label_unit: str | None = None
    sensor: str | None = None
    bands: tuple[str, ...] = ()
    unit: str | None = None


class Resize(_Frozen):
    """How images come to the size that is fed: area averaging down, bilinear back up.

    Attributes:
        size: Height and width at scale 1, in pixels.
        multiple: The encoders' common size rule in pixels.
        scale_protocol: See ``ecotone.evaluation.scales``.
        scales: Relative scales, largest first.
        gsds: The metres per pixel that were asked for instead, one for each scale; empty for relative scales.
    """

    size: tuple[int, int]
    multiple: int
    scale_protocol: str
    scales: tuple[float, ...]
    gsds: tuple[float, ...] = ()
    down: Literal["area"] = "area"
    up: Literal["bilinear"] = "bilinear"

    def label(self, scale: float) -> str:
        """A scale for people: in per cent, or in the metres per pixel that were asked for."""
        return f"{self.gsds[self.scales.index(scale)]:g} m" if self.gsds else f"{100 * scale:g} %"

    @property
    def axis(self) -> str:
        """What the scales are."""
        return "metres per pixel of detail" if self.gsds else "relative scale"


class Gsd(_Frozen):
    """The GSD that encoders are told.

    Attributes:
        policy: ``pitch``: metres per pixel of the image as it is fed; ``fixed``: one value for all; ``shuffled``: that
            of another image or scale.
        source: ``declared``, ``georeference``, ``assumed`` (the model's own middle) or ``unknown``.
        metres: Metres per pixel at scale 1 where all images share one value, declared, assumed or of their grids.
        fixed: The value that all are told.
    """

    policy: GsdPolicy = "pitch"
    source: str
    metres: float | None
    fixed: float | None = None


class Interval(_Frozen):
    """Percentile bootstrap over test samples."""

    kind: Literal["bootstrap"] = "bootstrap"
    level: float = 0.95
    draws: int = 4000
    seed: int = 0


class Contract(_Frozen):
    """Everything that can move a score, frozen before the test split is read.

    Attributes:
        ecotone: Version of this package.
        data: Samples and splits.
        inputs: The distinct inputs and readouts of the evaluated encoders.
        resize: Sizes, scales and filters.
        gsd: The GSD that encoders are told.
        task: What is asked of every image.
        protocols: Protocol -> its settings and grid.
        metrics: Protocol -> what is measured. The first one is the main metric: it makes the choices and the verdict.
        thresholds: How scores become decisions, where several classes may hold; None elsewhere.
        standardise: Features are standardised by the mean and standard deviation of the train features, or left alone.
        selection: The split on which choices are made.
        seeds: Seeds of the random floors.
        interval: How intervals are made.
    """

    schema_version: Literal[1] = 1
    ecotone: str
    data: Data
    inputs: tuple[ModelInput, ...]
    resize: Resize
    gsd: Gsd
    task: str
    protocols: dict[str, dict[str, Any]]
    metrics: dict[str, tuple[str, ...]]
    thresholds: str | None = None
    standardise: Literal["train z-score", "none"] = "train z-score"
    selection: Literal["val"] = "val"
    seeds: tuple[int, ...]
    interval: Interval = Interval()

    def canonical(self) -> str:
        """Canonical JSON: sorted keys, no blanks, so that equal settings give equal text."""
        return canonical(self.model_dump(mode="json"))

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def canonical(settings: Mapping[str, Any]) -> str:
    """Canonical JSON of the settings of a contract."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def differing(one: Any, other: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """The settings in which two contracts differ, by their dotted names, with both values; None where one has none."""
    if one == other:
        return {}
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return {name: (one, other)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys((*one, *other)):
        found |= differing(one.get(key), other.get(key), f"{name}.{key}".lstrip("."))
    return found
