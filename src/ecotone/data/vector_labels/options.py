"""How vector labels become samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ecotone.errors import RecipeError

Kind = Literal["masks", "chips", "pixels"]
Rule = Literal["majority", "centre", "any"]
SIZES: dict[Kind, int] = {"masks": 256, "chips": 64, "pixels": 9}
SHARES: dict[Rule, float] = {"majority": 0.5, "centre": 0.0, "any": 0.1}
SPLITS = ("train", "val", "test")
PIXELS_PER_CLASS = 1000
BLOCK_CHIPS, BLOCK_PIXELS = 4, 256  # a block's side, where it is not given: chips, and pixels that it has at least


@dataclass(frozen=True)
class LabelOptions:
    """How vector labels become samples.

    Attributes:
        kind: ``masks`` (a target raster for each tile), ``chips`` (a class for each tile, or around each point) or
            ``pixels`` (small chips around sampled pixels, whose class is that of the pixel in the middle).
        size: Side of a tile or chip in pixels; None for 256, 64 or 9, by kind.
        background: Class of what no shape covers. None: ``background`` for shapes without classes, else unknown.
        all_touched: A polygon covers every pixel that it touches, not only those whose centre lies in it.
        rule: The class of a chip over polygons: ``majority`` (the most frequent one), ``centre`` (that of the pixel in
            the middle) or ``any`` (every class that covers enough, so several; the background if nothing is covered).
        min_share: Smallest share of a chip that its class covers; None for 0.5, 0 or 0.1, by rule.
        limit: Most samples of one class, of ``chips`` and ``pixels``; None for no limit, of pixels for 1000.
        min_distance: Metres between the centres of two samples of ``chips`` and ``pixels``.
        min_valid: Smallest share of observed pixels that a sample needs.
        split: ``blocks`` (by place) or ``random``.
        block: Side of a block in metres; None for four chips, or 256 pixels if these are more.
        buffer: Least metres between samples of two splits; with 0 they share no pixel.
        shares: Of train, val and test.
        seed: Fixes what is drawn at random.
    """

    kind: Kind = "masks"
    size: int | None = None
    background: str | None = None
    all_touched: bool = False
    rule: Rule = "majority"
    min_share: float | None = None
    limit: int | None = None
    min_distance: float = 0.0
    min_valid: float = 0.5
    split: Literal["blocks", "random"] = "blocks"
    block: float | None = None
    buffer: float = 0.0
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind of labels", self.kind, get_args(Kind)),
            ("rule", self.rule, get_args(Rule)),
            ("split", self.split, ("blocks", "random")),
        ):
            if value not in known:
                raise RecipeError(f"unknown {name}", found=value, expected=" or ".join(known))
        for name, good, found, expected in (
            ("size", self.side >= 1, self.size, "at least one pixel"),
            ("smallest share of a chip", 0 <= self.cover <= 1, self.min_share, "0 to 1"),
            ("smallest share of valid pixels", 0 <= self.min_valid <= 1, self.min_valid, "0 to 1"),
            ("limit", self.limit is None or self.limit >= 1, self.limit, "at least one sample of a class"),
            ("distance between samples", self.min_distance >= 0, self.min_distance, "metres"),
            ("side of a block", self.block is None or self.block > 0, self.block, "metres above zero"),
            ("buffer between splits", self.buffer >= 0, self.buffer, "metres"),
        ):
            if not good:
                raise RecipeError(f"the {name} cannot be used", found=found, expected=expected)
        if self.kind == "pixels" and self.side % 2 == 0:
            raise RecipeError("a chip around a pixel has an odd side", found=self.side, expected=self.side + 1)
        if len(self.shares) != 3 or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6 or not self.shares[0]:
            raise RecipeError("the shares of train, val and test add up to one, train's above zero", found=self.shares)

    @property
    def side(self) -> int:
        """Side of a sample in pixels."""
        return SIZES[self.kind] if self.size is None else self.size

    @property
    def cover(self) -> float:
        """Smallest share of a chip that its class covers."""
        return SHARES[self.rule] if self.min_share is None else self.min_share

    @property
    def most(self) -> int | None:
        """Most samples of one class."""
        return PIXELS_PER_CLASS if self.kind == "pixels" and self.limit is None else self.limit
