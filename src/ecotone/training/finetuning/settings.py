"""Every setting of a fine-tuning, and how a user's words become them."""

from __future__ import annotations

from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecotone.errors import RecipeError, nearest
from ecotone.training.precision import Precision
from ecotone.transforms import AnyTransform

Mode = Literal["full", "frozen", "lora"]


class FineTune(BaseModel):
    """Settings of ``ecotone finetune``, kept in ``RUN/finetune.yaml`` with what was left open filled in.

    Attributes:
        model: Run or model folder, or released weights by name, to start from.
        data: Dataset folder with labels and the splits train and val.
        mode: ``full`` trains everything, ``frozen`` only a linear head, ``lora`` the head and low-rank additions to the
            linear layers of the blocks, which end merged into the weights.
        from_scratch: Forget the model's weights and keep its architecture: the floor of fine-tuning.
        labels: Share of the training samples to learn from, alike in every class and never none of one; a smaller
            share is part of a larger one.
        balanced: Show every class equally often; for ``segmentation``, let every class weigh the same in the loss.
        sensor: Sensor, where the data do not say.
        gsd: Metres per pixel, where the data do not say.
        size: Side in pixels of square images, to which others are resized; by default that of most training images,
            made a multiple of what the encoder takes.
        seed: Fixes the labels chosen, new weights, order and augmentation.
        epochs: Passes over the training samples.
        batch_size: Images in one step; all training samples where they are fewer.
        lr: Peak learning rate of the head and the last layer.
        layer_decay: Factor of the learning rate from each block to the one below it.
        weight_decay: For matrices only: not for biases, norms and tokens.
        warmup: Share of the training in which the learning rate rises; a cosine then brings it to zero.
        clip: Largest norm of the gradient; null does not clip.
        ema: Decay of an exponential moving average of the weights, which then is scored and delivered; null for none.
        drop_path: Share of images for which the last block is left out in training; less for the blocks below.
        mixup: Share of images into which another one is blended.
        cutmix: Share of images into which a square of another one is pasted.
        smoothing: Share of the target that is spread over all classes.
        lora_rank: Rank of the additions.
        transforms: Augmentations; by default a crop of at least half the area, flips and quarter turns.
        checks: How often in training the val split is scored, and the state for resuming saved. The best is delivered.
        workers: Processes that read data; 0 reads in the main process.
        cache: Keep decoded images in memory.
        precision: ``fp32``, ``bf16`` or ``auto``.
    """

    model_config = ConfigDict(extra="forbid")
    model: str
    data: str
    mode: Mode = "full"
    from_scratch: bool = False
    labels: float = Field(default=1.0, gt=0, le=1)
    balanced: bool = False
    sensor: str | None = None
    gsd: float | None = Field(default=None, gt=0)
    size: int | None = Field(default=None, gt=0)
    seed: int = 0
    epochs: float = Field(default=30, gt=0)
    batch_size: int = Field(default=32, gt=0)
    lr: float | None = Field(default=None, gt=0)
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    clip: float | None = Field(default=1.0, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0, le=1)
    cutmix: float = Field(default=0.0, ge=0, le=1)
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    lora_rank: int = Field(default=8, ge=1)
    transforms: list[AnyTransform] | None = None
    checks: int = Field(default=20, ge=1)
    workers: int = Field(default=0, ge=0)
    cache: bool = True
    precision: Precision = "auto"

    @property
    def peak(self) -> float:
        """Peak learning rate: as set, or what suits the mode."""
        return self.lr or (2e-3 if self.mode == "lora" else 1e-3 if self.from_scratch else 5e-4)

    @property
    def decay(self) -> float:
        """Factor from each block to the one below: as set, or one where nothing learnt is to be kept."""
        return self.layer_decay or (0.75 if self.mode == "full" and not self.from_scratch else 1.0)


def parse_settings(given: dict[str, Any], overrides: list[str] | None = None) -> FineTune:
    """Settings from options and from ``key=value`` overrides, whose values are YAML.

    Raises:
        RecipeError: An unknown key (the nearest is suggested), or a value that is not allowed.
    """
    raw = dict(given)
    for override in overrides or []:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"cannot read the override {override!r}", expected="key=value, such as drop_path=0.2")
        raw[key] = yaml.safe_load(value)
    unknown = next((key for key in raw if key not in FineTune.model_fields), None)
    if unknown is not None:
        raise RecipeError(f"fine-tuning has no setting {unknown!r}", mend=nearest(unknown, FineTune.model_fields))
    try:
        settings = FineTune.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(f"the setting {where} cannot be {first['input']!r}: {first['msg']}") from error
    if settings.from_scratch and settings.mode != "full":
        raise RecipeError(
            "training from scratch trains everything", found=f"mode {settings.mode}", expected="mode full"
        )
    if settings.mixup + settings.cutmix > 1:
        raise RecipeError("mixup and cutmix are shares of the images", found=f"{settings.mixup} and {settings.cutmix}")
    return settings
