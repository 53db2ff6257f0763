"""What the released models do, one bundle of options per method, so that the method files stay clean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecotone.encoders import Readout
from ecotone.inputs import InputSpec


@dataclass(frozen=True)
class Released:
    """Everything that makes this package's encoder and method behave as the authors' released model.

    Sizes that the shapes of a checkpoint tell, such as width and depth, are not part of it.

    Attributes:
        method: Kind of the method.
        encoder_kind: Kind of the encoder.
        encoder: Options of the encoder that differ from its defaults.
        readout: How the authors make one vector of an image.
        options: Options of the method that differ from its defaults.
        input: Bands in the authors' order, their unit, and the normaliser that they really used.
        image_size: Side in pixels of the images that the encoder was trained with.
        licence: Of the released weights.
        citation: The paper.
    """

    method: str
    encoder_kind: str
    encoder: Mapping[str, Any]
    readout: Readout
    options: Mapping[str, Any]
    input: InputSpec
    image_size: int
    licence: str
    citation: str
