"""What a prediction writes: the layers of a task, and how answers become their stored numbers."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecotone.errors import InputError
from ecotone.heads import Predictor
from ecotone.rasters.layers import Layer

NO_CLASS = 255
SHARE_STEPS = 250  # shares from 0 to 1 are stored in steps of 0.004: 8 bits, and no-data beside them
GOLDEN = 0.61803398875  # hues that far apart stay distinct however many classes there are

Store = Callable[[Tensor, NDArray[np.bool_]], NDArray[np.generic]]


@dataclass(frozen=True)
class Output:
    """One raster that a prediction writes.

    Attributes:
        layer: What it holds.
        store: Answers (K, rows, width) and where there are any -> stored numbers (channels, rows, width).
    """

    layer: Layer
    store: Store


def outputs_of(
    predictor: Predictor, *, probabilities: bool, uncertainty: bool, tags: Mapping[str, str]
) -> dict[str, Output]:
    """The rasters of a prediction by name: ``map``, and if asked for ``probabilities`` and ``uncertainty``.

    The map holds class numbers as in ``classes`` with a colour table, zeros and ones for each of several labels, or
    values. Uncertainty is the entropy of the probabilities as a share of the largest possible.

    Raises:
        InputError: Probabilities or uncertainty of values, or more classes than 8 bits hold.
    """
    if predictor.task == "regression":
        if probabilities or uncertainty:
            raise InputError("a predictor of values gives no probabilities", found=predictor.task)
        return {"map": Output(Layer("map", "float32", ("value",), float("nan"), tags=tags), _values)}
    if len(predictor.classes) > NO_CLASS:
        raise InputError("a map holds at most 255 classes", found=len(predictor.classes))
    outputs = {"map": _decisions(predictor, tags)}
    if probabilities:
        outputs["probabilities"] = _shares("probabilities", predictor.classes, tags, lambda answers: answers)
    if uncertainty:
        single = predictor.task != "multilabel"
        outputs["uncertainty"] = _shares("uncertainty", ("uncertainty",), tags, entropy if single else binary_entropy)
    return outputs


def entropy(answers: Tensor) -> Tensor:
    """(1, rows, width) entropy of probabilities (K, rows, width), as a share of that of K equal ones."""
    return torch.special.entr(answers).sum(0, keepdim=True) / np.log(len(answers))


def binary_entropy(answers: Tensor) -> Tensor:
    """(1, rows, width) mean over the labels of the entropy of present and absent, in bits."""
    each = torch.special.entr(answers) + torch.special.entr(1 - answers)
    return each.mean(0, keepdim=True) / np.log(2)


def class_colours(count: int) -> dict[int, tuple[int, int, int]]:
    """A colour for each class number: hues a golden section apart, every second turn darker."""
    each = (colorsys.hsv_to_rgb(i * GOLDEN % 1, 0.65, 0.9 if i % 2 == 0 else 0.65) for i in range(count))
    return {i: (round(r * 255), round(g * 255), round(b * 255)) for i, (r, g, b) in enumerate(each)}


def _decisions(predictor: Predictor, tags: Mapping[str, str]) -> Output:
    several = predictor.task == "multilabel"

    def store(answers: Tensor, seen: NDArray[np.bool_]) -> NDArray[np.generic]:
        said = predictor.decide(answers.unsqueeze(0))[0].to(torch.uint8).numpy()
        return np.where(seen, said if several else said[None], np.uint8(NO_CLASS))

    layer = Layer(
        "map",
        "uint8",
        predictor.classes if several else ("class",),
        NO_CLASS,
        colours={} if several else class_colours(len(predictor.classes)),
        tags={**tags, "classes": json.dumps(predictor.classes)},
    )
    return Output(layer, store)


def _shares(name: str, bands: tuple[str, ...], tags: Mapping[str, str], of: Callable[[Tensor], Tensor]) -> Output:
    def store(answers: Tensor, seen: NDArray[np.bool_]) -> NDArray[np.generic]:
        steps = of(answers).clamp(0, 1).mul(SHARE_STEPS).round_().to(torch.uint8).numpy()
        return np.where(seen, steps, np.uint8(NO_CLASS))

    return Output(Layer(name, "uint8", bands, NO_CLASS, scale=1 / SHARE_STEPS, tags=tags), store)


def _values(answers: Tensor, seen: NDArray[np.bool_]) -> NDArray[np.generic]:
    return np.where(seen, answers.numpy(), np.float32("nan"))
