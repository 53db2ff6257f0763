"""The three named scale protocols: what is reduced, what is fed, and the GSD that goes with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ecotone.errors import InputError, RecipeError, nearest
from ecotone.samples import ImageBatch
from ecotone.transforms import resize

ScaleProtocol = Literal["native", "test-native", "test-resized"]
Size = tuple[int, int]


@dataclass(frozen=True)
class View:
    """What is done to every image before an encoder or a floor sees it.

    Attributes:
        scale: The relative scale asked for.
        reduced: Height and width after area averaging.
        fed: Height and width that are fed; larger than ``reduced`` when the image is resized back (bilinear).
    """

    scale: float
    reduced: Size
    fed: Size

    def apply(self, image: ImageBatch) -> ImageBatch:
        """Reduce, and resize back where the protocol says so. The pitch follows both, the effective GSD only grows."""
        small = image if image.size == self.reduced else resize(image, self.reduced, "area")
        return small if self.fed == self.reduced else resize(small, self.fed, "bilinear")


@dataclass(frozen=True)
class ScalePlan:
    """Views of the train and test images at every scale.

    Attributes:
        protocol: ``native``: train and test reduced; ``test-native``: test reduced and fed small; ``test-resized``:
            test reduced and resized back.
        scales: Relative scales in (0, 1], largest first.
        size: Height and width at scale 1, a multiple of ``multiple``.
        multiple: Pixels per token, the encoders' common size rule.
        min_size: The smallest height and width that the encoders take, in pixels.
    """

    protocol: ScaleProtocol
    scales: tuple[float, ...]
    size: Size
    multiple: int
    min_size: int = 1

    def train_scale(self, scale: float) -> float:
        """The scale of the training images that go with test images of this scale."""
        return scale if self.protocol == "native" else 1.0

    def train_view(self, train_scale: float) -> View:
        size = self._reduced(train_scale)
        return View(train_scale, size, size)

    def test_view(self, scale: float) -> View:
        reduced = self._reduced(scale)
        return View(scale, reduced, self.size if self.protocol == "test-resized" else reduced)

    def pitch_factors(self) -> list[float]:
        """What the metres per pixel are multiplied by in every view that can be fed."""
        fed = [s for s in self.scales if not self.refusal(s)]
        views = [v for s in fed for v in (self.train_view(self.train_scale(s)), self.test_view(s))]
        return [math.sqrt(math.prod(self.size) / math.prod(view.fed)) for view in views]

    def refusal(self, scale: float) -> str | None:
        """Why images of this scale cannot be fed, or None if they can."""
        view = self.test_view(scale)
        if min(view.reduced) < 2:
            return f"scale {scale:g} leaves fewer than 2 x 2 pixels of {self.size[0]} x {self.size[1]}"
        if min(view.fed) < 2 * self.multiple:
            height, width = (n // self.multiple for n in view.fed)
            return (
                f"scale {scale:g} gives {view.fed[0]} x {view.fed[1]} pixels, a grid of {height} x {width} tokens of "
                f"{self.multiple} pixels; below 2 x 2 tokens a score means nothing"
            )
        if min(view.fed) < self.min_size:
            return f"scale {scale:g} gives {view.fed[0]} x {view.fed[1]} pixels; the encoder takes {self.min_size}"
        return None

    def _reduced(self, scale: float) -> Size:
        """The size nearest below the scale that can be fed: never more detail than was asked for."""
        step = 1 if self.protocol == "test-resized" else self.multiple
        height, width = (int(n * scale / step + 1e-6) * step for n in self.size)
        return height, width


def plan_scales(
    protocol: str, scales: Sequence[float], image_size: Size, *, multiple: int = 1, min_size: int = 1
) -> ScalePlan:
    """Check the options and fix the size at scale 1: the image's own, rounded down to the size rule.

    Raises:
        RecipeError: Unknown protocol, or a scale outside (0, 1].
        InputError: The images are too small for the encoders at any scale.
    """
    known = get_args(ScaleProtocol)
    if protocol not in known:
        raise RecipeError(f"unknown scale protocol {protocol!r}", mend=nearest(protocol, known))
    wrong = [s for s in scales if not 0 < s <= 1]
    if wrong or not scales:
        raise RecipeError("scales must lie above 0 and at most at 1", found=", ".join(map(str, wrong)) or "none")
    height, width = (n // multiple * multiple for n in image_size)
    if min(height, width) < max(2 * multiple, min_size):
        raise InputError(
            "the images are too small for the encoder",
            found=f"{image_size[0]} x {image_size[1]} pixels",
            expected=f"at least {max(2 * multiple, min_size)} pixels, two tokens of {multiple}",
            mend="Use an encoder with smaller patches.",
        )
    ordered = tuple(sorted(dict.fromkeys(map(float, scales)), reverse=True))
    return ScalePlan(known[known.index(protocol)], ordered, (height, width), multiple, min_size)


def scales_of_gsds(gsds: Sequence[float], pitch: float | None) -> tuple[float, ...]:
    """Relative scales at which images of one pitch have these GSDs, both in metres per pixel, finest first.

    Raises:
        RecipeError: The images do not share one known GSD, or are coarser than what is asked for.
    """
    if pitch is None:
        raise RecipeError(
            "absolute GSDs need images of one known GSD",
            found="no GSD, or one that differs from image to image",
            mend="Declare it with --gsd, or ask for relative scales.",
        )
    wrong = [g for g in gsds if not 0.99 * pitch <= g < math.inf]
    if wrong:
        raise RecipeError(
            "no detail can be added to images",
            found=", ".join(f"{g:g} m" for g in wrong),
            expected=f"GSDs from {pitch:g} m, which the images have",
        )
    return tuple(min(1.0, pitch / g) for g in sorted(dict.fromkeys(gsds)))
