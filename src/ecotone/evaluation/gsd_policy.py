"""The GSD that encoders are told: the truth, one value for all, or as a control another image's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from ecotone.errors import RecipeError, nearest
from ecotone.samples import Batch

GsdPolicy = Literal["pitch", "fixed", "shuffled"]


@dataclass(frozen=True)
class Telling:
    """What encoders, and their random inits, are told instead of the metres per pixel of the images as they are fed.

    Floors without an encoder are never told anything.

    Attributes:
        policy: ``pitch`` tells the truth; ``fixed`` the first value of the pool; ``shuffled`` a value of the pool that
            is drawn by the hash of the image's key, so that it depends neither on batches nor on order nor on scale.
        pool: Metres per pixel.
    """

    policy: GsdPolicy = "pitch"
    pool: tuple[float, ...] = ()

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the GSD that is told; its pixels and its effective GSD stay."""
        if self.policy == "pitch":
            return batch
        told = torch.tensor([self._of(key) for key in batch.keys])
        return batch.replace_images(
            **{role: replace(image, gsd=told.to(image.gsd)) for role, image in batch.images.items()}
        )

    @property
    def fixed(self) -> float | None:
        """The one value that is told, if there is one."""
        return self.pool[0] if self.policy == "fixed" else None

    def _of(self, key: str) -> float:
        drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) if self.policy == "shuffled" else 0
        return self.pool[drawn % len(self.pool)]


def parse_policy(text: str) -> tuple[GsdPolicy, float | None]:
    """The policy, and the metres of ``fixed:METRES``.

    Raises:
        RecipeError: No such policy, or no metres.
    """
    name, _, metres = text.partition(":")
    known: dict[str, GsdPolicy] = {p: p for p in get_args(GsdPolicy)}
    policy = known.get(name)
    if policy is None:
        raise RecipeError(f"unknown GSD policy {text!r}", mend=nearest(name, known))
    if not metres:
        return policy, None
    try:
        value = float(metres)
    except ValueError:
        value = math.nan
    if name != "fixed" or not 0 < value < math.inf:
        raise RecipeError(
            "the GSD policy cannot be read", found=text, expected="pitch, shuffled, fixed or fixed:METRES"
        )
    return policy, value


def telling(text: str, pitches: Sequence[float], factors: Sequence[float]) -> Telling:
    """How to tell the GSD by this policy.

    Args:
        text: ``pitch``, ``shuffled``, ``fixed`` or ``fixed:METRES``.
        pitches: Metres per pixel of some train images at scale 1; without METRES their median is told.
        factors: What the pitch is multiplied by in the views of this evaluation. Shuffling draws from all pitches in
            all views: where images share one GSD, the scales still differ under ``native`` and ``test-native``.

    Raises:
        RecipeError: There is nothing to tell, or nothing to shuffle.
    """
    policy, metres = parse_policy(text)
    if policy == "pitch":
        return Telling()
    if policy == "fixed":
        if metres is None and not pitches:
            raise RecipeError("the images do not say their GSD", mend="Give the value to tell, as fixed:METRES.")
        return Telling(policy, (metres or sorted(pitches)[len(pitches) // 2],))
    pool = tuple(sorted(p * f for p in pitches for f in set(factors)))
    if not pool or max(pool) <= 1.01 * min(pool):
        raise RecipeError(
            "there is nothing to shuffle: every image is fed with one GSD at every scale",
            found=f"{pool[0]:g} m" if pool else "no GSD",
            mend="Add scales under native or test-native, where the GSD follows the scale.",
        )
    return Telling(policy, pool)
