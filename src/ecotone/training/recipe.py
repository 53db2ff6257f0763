"""Recipe: data, method, encoder, optimiser and budget in one YAML file, validated in full before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecotone.encoders import Readout, encoder_kinds
from ecotone.errors import RecipeError, nearest
from ecotone.inputs import Normaliser
from ecotone.transforms import AnyTransform


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataSection(_Section):
    """Where images come from; paths are relative to the working directory.

    Attributes:
        path: Folder, HDF5 file or shard folder, as ``ecotone data inspect`` reads it.
        split: Split to read; all samples when not given.
        sensor: Sensor, where the data do not say.
        gsd: Metres per pixel, where the data do not say.
        size: Side in pixels to which images of another size are resized (anti-aliased bicubic; the GSD follows), so
            that they fit into one batch. Without it or ``crop`` all images must have one size.
        crop: Side in pixels of a square cut from each image at a random place whenever it is read, at the image's own
            GSD; what lies outside a smaller image counts as not observed.
        cache: Keep decoded images in memory.
    """

    path: str
    split: str | None = None
    sensor: str | None = None
    gsd: float | None = Field(default=None, gt=0)
    size: int | None = Field(default=None, gt=0)
    crop: int | None = Field(default=None, gt=0)
    cache: bool = True


class InputSection(_Section):
    """What the model will accept.

    Attributes:
        role: Name of the images' role.
        bands: Bands in the model's order; all of the data's by default.
        unit: Unit of the statistics; the data's by default.
        normaliser: ``z-score`` measures the statistics on the data; ``published`` takes those that come with the
            dataset; else a normaliser with its statistics.
        gsd: Smallest and largest metres per pixel accepted; any by default.
    """

    role: str = "optical"
    bands: tuple[str, ...] | None = None
    unit: str | None = None
    normaliser: Literal["z-score", "published"] | Normaliser = "z-score"
    gsd: tuple[float, float] | None = None


class EncoderSection(_Section):
    """The architecture.

    Attributes:
        kind: Name in the registry.
        size: A named size of this kind, such as ``base``, instead of width, depth and heads.
        readout: How features become one vector.
        config: Other options of this kind, such as ``patch`` and ``positions``.
    """

    kind: str = "vit"
    size: str | None = None
    readout: Readout = Readout()
    config: dict[str, Any] = {}

    @model_validator(mode="after")
    def _expand_size(self) -> EncoderSection:
        if self.size is not None and self.kind in encoder_kinds():  # building it reports an unknown kind
            sizes = encoder_kinds()[self.kind].sizes
            if self.size not in sizes:
                raise ValueError(f"unknown size {self.size!r}. {nearest(self.size, sizes)}")
            self.config = {**sizes[self.size], **self.config}
        return self


class MethodSection(_Section):
    """The pretraining objective: its name in the registry and its options."""

    kind: str
    config: dict[str, Any] = {}


class OptimiserSection(_Section):
    """AdamW.

    Attributes:
        lr: Peak learning rate for a batch of 256; it scales with the batch (Goyal et al. 2017), as in MAE.
        weight_decay: For matrices only: not for biases, norms and tokens.
        decay_tokens: Decay tokens, position tables and the gains of global response normalisation too, as timm's
            split does and the official runs did.
        betas: Decay rates of the moments.
        clip: Largest norm of the gradient; None does not clip.
    """

    lr: float = Field(default=1.5e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    decay_tokens: bool = False
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float | None = Field(default=None, gt=0)


class StageSection(_Section):
    """The budget, in images: a wall clock cannot resume.

    Attributes:
        images: Images seen in all.
        batch_size: Images per optimiser step, over all processes.
        accumulate: Parts that a step's batch is split into, to save memory.
        warmup_images: Images over which the learning rate rises linearly; a cosine then brings it to zero.
        precision: ``fp32``, ``bf16`` or ``auto``: bf16 where the device multiplies it natively.
        ema: Decay of an exponential moving average of the weights, which then is the deliverable; None for none.
    """

    images: int = Field(gt=0)
    batch_size: int = Field(default=256, gt=0)
    accumulate: int = Field(default=1, ge=1)
    warmup_images: int = Field(default=0, ge=0)
    precision: Literal["fp32", "bf16", "auto"] = "auto"
    ema: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _divides(self) -> StageSection:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}")
        if self.images < self.batch_size:
            raise ValueError(f"images {self.images} is less than one batch of {self.batch_size}")
        return self


class MonitorSection(_Section):
    """What is measured while training runs.

    Attributes:
        path: A labelled dataset with train and val splits for the online kNN; none without it. The test split is
            never read.
        every_images: How often, in images; also how often pictures are drawn.
        samples: Most samples of each split to use.
    """

    path: str | None = None
    every_images: int = Field(default=20_000, gt=0)
    samples: int = Field(default=1000, gt=0)


class Recipe(_Section):
    """A whole pretraining run, or a chain of them.

    Attributes:
        name: Name of the model it makes.
        initial: Run or model folder to start from: the weights of its encoder, and of its method where that is the
            same, are carried over to this size and these bands. None starts from random weights.
        stages: A chain: each entry is a name and whatever it changes of the keys beside ``stages``; every stage
            starts from the weights of the one before. The keys beside ``stages`` are then those of the last stage.
        seed: Fixes initial weights, order, augmentation and masks.
        checkpoint_every_images: How often the run's state is saved.
        workers: Processes that read data; 0 reads in the main process.
    """

    name: str
    seed: int = 0
    initial: str | None = None
    stages: list[Recipe] = []
    data: DataSection
    input: InputSection = InputSection()
    encoder: EncoderSection = EncoderSection()
    method: MethodSection
    transforms: list[AnyTransform] = []
    optimiser: OptimiserSection = OptimiserSection()
    stage: StageSection
    monitor: MonitorSection = MonitorSection()
    checkpoint_every_images: int = Field(default=20_000, gt=0)
    workers: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _expand_stages(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not raw.get("stages"):
            return raw
        shared = {key: value for key, value in raw.items() if key != "stages"}
        if not all(isinstance(part, dict) and part.get("name") for part in raw["stages"]):
            raise ValueError("every entry of stages needs a name")
        stages = [_merged(shared, part) for part in raw["stages"]]
        return {**stages[-1], "name": raw.get("name"), "stages": stages}


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``; sections are merged key by key, except where the kind changes."""
    merged = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read and validate a recipe.

    Args:
        path: YAML file.
        overrides: ``key=value`` with dotted keys, such as ``stage.images=50000``; the value is YAML.

    Raises:
        RecipeError: The file cannot be read, a key is unknown (the nearest is suggested), or a value is not allowed.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}", found=error.strerror) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} is not a recipe", expected="a mapping with name, data, method and stage")
    for override in overrides or []:
        _set(raw, override)
    return parse_recipe(raw, str(path))


def parse_recipe(raw: dict[str, Any], source: str = "recipe") -> Recipe:
    """Validate a recipe that is already a mapping.

    Raises:
        RecipeError: As for ``load_recipe``.
    """
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(f"{source}: " + "; ".join(_sentence(e) for e in error.errors()[:3])) from error


def _set(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"cannot read the override {override!r}", expected="key=value, such as stage.images=50000")
    node = raw
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise RecipeError(f"cannot set {key}: {parent} is not a section")
    node[last] = yaml.safe_load(value)


def _sentence(error: Any) -> str:
    """One pydantic error as a sentence, with the nearest key for a misspelt one."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        section: Any = Recipe
        for part in error["loc"][:-1]:
            field = getattr(section, "model_fields", {}).get(part)
            section = field.annotation if field is not None else None
        known = getattr(section, "model_fields", {})
        return f"unknown key {where!r}. {nearest(str(error['loc'][-1]), known) if known else ''}".strip()
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}" + (f" (found {error['input']!r})" if "input" in error else "")
