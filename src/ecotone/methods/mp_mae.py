"""MP-MAE: a masked autoencoder whose targets are many modalities of one place.

Nedungadi, Kariryaa, Oehmcke, Belongie, Igel, Lang, "MMEarth: Exploring Multi-Modal Pretext Tasks For Geospatial
Representation Learning", ECCV 2024.

A ConvNeXt V2 sees 40 % of the patches of one optical image. From its features small decoders, one for each task,
predict the pixels of the hidden patches in every pixel modality, and every image-level modality from the mean of all
patches. The losses of all tasks are weighted by learned uncertainties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecotone.data import Dataset
from ecotone.encoders.convnext import ConvNeXt
from ecotone.errors import RecipeError, nearest
from ecotone.methods.base import Method, Picture
from ecotone.methods.truth import NAN, observed, truth
from ecotone.modalities import Modality
from ecotone.nn.convnext import Block, init_weights
from ecotone.nn.masking import TokenMask, random_mask, take
from ecotone.nn.patches import patchify, unpatchify
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch


class MPMAE(Method):
    """Multi-pretext masked autoencoding.

    Args:
        encoder: A ConvNeXt.
        targets: The modalities to predict. A recipe names them, or leaves them out for all that its dataset has. The
            encoder's own image alone where there is no such dataset. What the encoder sees is predicted in the values
            that it sees; other modalities by their own normaliser.
        mask_ratio: Fraction of patches hidden from the encoder.
        decoder_width: Channels of the decoders.
        decoder_depth: Blocks of each decoder.
        shared_decoder: One decoder for all tasks, as the authors' code has it, instead of one per task (the paper).
        decoder_grn_eps: Epsilon of the decoders' global response normalisation; the authors' is 1e-4.
        norm_pixels: Predict the encoder's own image with each patch normalised by its own mean and variance.
        missing: Missing pixels of measured modalities are not counted (``ignore``) or are to be predicted as zero,
            which is the mean, as in the authors' code (``zero``).
        aggregation: ``uncertainty``: the sum of ``exp(-s) L + s`` with one learned s per task, as in the authors'
            code; ``kendall``: the same with the factors of Kendall et al. 2018, half of L and of s for measured
            modalities and half of s for classes; ``unweighted``: the plain sum.
        released_init: Draw the projection, the depthwise kernels and the heads of pixel modalities with a standard
            deviation of 1 instead of 0.02: what the authors' initialisation comes to.
    """

    kind = "mp-mae"
    encoder: ConvNeXt

    def __init__(
        self,
        encoder: ConvNeXt,
        *,
        targets: Sequence[Mapping[str, Any] | Modality] | None = None,
        mask_ratio: float = 0.6,
        decoder_width: int = 512,
        decoder_depth: int = 1,
        shared_decoder: bool = False,
        decoder_grn_eps: float = 1e-6,
        norm_pixels: bool = True,
        missing: Literal["ignore", "zero"] = "ignore",
        aggregation: Literal["uncertainty", "kendall", "unweighted"] = "uncertainty",
        released_init: bool = False,
    ) -> None:
        super().__init__(encoder)
        self.targets = _modalities(targets, encoder)
        self._config = {k: v for k, v in locals().items() if k not in {"self", "encoder", "__class__"}}
        self._config["targets"] = [t.model_dump(mode="json") for t in self.targets]
        self.mask_ratio, self.norm_pixels = mask_ratio, norm_pixels
        self.missing, self.aggregation, self.shared_decoder = missing, aggregation, shared_decoder

        self.proj = nn.Linear(encoder.width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        names = ["shared"] if shared_decoder else [t.name for t in self.targets]
        self.decoders = nn.ModuleDict(
            {n: nn.Sequential(*(Block(decoder_width, decoder_grn_eps) for _ in range(decoder_depth))) for n in names}
        )
        self.heads = nn.ModuleDict({t.name: nn.Linear(decoder_width, self._values(t)) for t in self.targets})
        if any(t.scope == "image" for t in self.targets):
            self.pooled_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        if aggregation != "unweighted":
            self.log_variances = nn.Parameter(torch.zeros(len(self.targets)))
        self._initialise(released_init)

    def _initialise(self, released: bool) -> None:
        pixel_heads = [self.heads[t.name] for t in self.targets if t.scope == "pixel"]
        for part in (self.proj, self.decoders, self.heads):
            for module in part.modules():
                convolution = isinstance(module, nn.Conv2d) or module is self.proj or module in pixel_heads
                init_weights(module, wide=released and convolution)
        nn.init.normal_(self.mask_token, std=0.02)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    @classmethod
    def complete(cls, config: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
        """Names of modalities become what the dataset says of them; without any, all of the dataset are targets.

        Raises:
            RecipeError: The dataset has no such modality.
        """
        known: Mapping[str, Modality] = getattr(dataset, "modalities", {})
        wanted = config.get("targets") or list(known)
        for name in wanted:
            if isinstance(name, str) and name not in known:
                mend = nearest(name, known) if known else "This kind of dataset holds one modality: leave targets out."
                raise RecipeError(f"{dataset.info.name} has no modality {name!r}", mend=mend)
        full = [known[t].model_dump(mode="json") if isinstance(t, str) else t for t in wanted]
        return {**config, "targets": full} if full else config

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        prepared = self.encoder.spec.prepare(batch)
        mask = self.mask(prepared, random)
        return self.losses(batch, prepared, mask)

    def mask(self, prepared: Batch, random: SampleRandom) -> TokenMask:
        rows, cols = self.encoder.grid(self._image(prepared))
        return random_mask(random.uniform(rows * cols), self.mask_ratio)

    def decode(self, prepared: Batch, mask: TokenMask) -> dict[str, Tensor]:
        """Decoder -> (N, L, D): projected features with the mask token in hidden patches, through its blocks."""
        visible = cast(Tensor, self.encoder.forward_features(prepared, mask.keep).tokens)
        x = mask.unshuffle(self.proj(visible), self.mask_token)
        x = x.unflatten(1, self.encoder.grid(self._image(prepared)))
        return {name: decoder(x).flatten(1, 2) for name, decoder in self.decoders.items()}

    def predict(self, decoded: Mapping[str, Tensor], cells: Tensor | None = None) -> dict[str, Tensor]:
        """Modality -> prediction, before any loss.

        Args:
            decoded: As ``decode`` gives it.
            cells: (N, M) the patches that are wanted; all L by default.

        Returns:
            (N, M, p*p*C) for pixel modalities, values in row, column, channel order; (N, K) for image modalities.
        """
        chosen = {name: x if cells is None else take(x, cells) for name, x in decoded.items()}
        pooled = {}
        if hasattr(self, "pooled_norm"):
            pooled = {name: self.pooled_norm(x).mean(1) for name, x in decoded.items()}
        made = {}
        for target in self.targets:
            decoder = "shared" if self.shared_decoder else target.name
            features = chosen if target.scope == "pixel" else pooled
            made[target.name] = self.heads[target.name](features[decoder])
        return made

    def losses(self, batch: Batch, prepared: Batch, mask: TokenMask) -> dict[str, Tensor]:
        """The loss of every modality, their weighted sum ``total``, and how many of them the batch has nothing of.

        A modality that is missing in the whole batch is 0, adds nothing to the total, and counts as ``absent``.

        Args:
            batch: Raw, for the targets.
            prepared: The same batch as the encoder sees it.
            mask: Pixels count where it hides them.

        Raises:
            InputError: A target has another size, other channels or more classes than its modality.
        """
        cells = mask.restore.argsort(1)[:, mask.keep.shape[1] :]  # the hidden patches
        predictions = self.predict(self.decode(prepared, mask), cells)
        losses, counts = [], []
        for target in self.targets:
            wanted = self.truth(target, batch, prepared)
            if target.scope == "pixel":
                wanted = take(wanted, cells)
            loss, count = self._loss(target, predictions[target.name].float(), wanted)
            losses.append(loss)
            counts.append(count)
        there = torch.stack(counts) > 0
        terms = self.weigh(torch.stack(losses), there)
        named = dict(zip((t.name for t in self.targets), losses, strict=True))
        return {**named, "absent": (~there).sum().float(), "total": terms.sum()}

    def weigh(self, losses: Tensor, there: Tensor) -> Tensor:
        """(T,) terms of the total from T losses; zero for tasks that are not ``there`` (T,)."""
        if self.aggregation == "unweighted":
            return losses
        s = self.log_variances
        if self.aggregation == "kendall":
            half = losses.new_tensor([0.5 if t.kind == "continuous" else 1.0 for t in self.targets])
            terms = half * (-s).exp() * losses + s / 2
        else:
            terms = (-s).exp() * losses + s
        return torch.where(there, terms, 0.0)

    def _loss(self, target: Modality, prediction: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Mean over what is known of a target, and how many values are."""
        if target.kind == "categorical":
            logits, labels = prediction.reshape(-1, len(target.channels)), wanted.flatten()
            count = (labels >= 0).sum()
            return F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / count.clamp_min(1), count
        known = wanted.isfinite()
        wanted = torch.where(known, wanted, 0.0)  # before any arithmetic: NaN times zero is NaN
        error = torch.where(known, prediction - wanted, 0.0).square()
        count = known.sum()
        return error.sum() / count.clamp_min(1), count

    def truth(self, target: Modality, batch: Batch, prepared: Batch) -> Tensor:
        """What there is to predict, NaN or -1 where it is missing.

        Returns:
            Of pixel modalities (N, L, p*p*C) values or (N, L, p*p) class indices; of image modalities (N, K) or (N,).
        """
        image = self._image(prepared)
        if self._is_input(target):
            bands = [self.encoder.spec.optical.bands.index(c) for c in target.channels]
            values = torch.where(observed(image), image.pixels[:, 0, bands], NAN)
        else:
            values = truth(target, batch, image.size)
        if target.scope == "image":
            return values
        values = patchify(values, self.encoder.patch)
        if target.kind == "continuous" and self.missing == "zero":
            values = torch.where(values.isfinite(), values, 0.0)
        if self.norm_pixels and self._is_input(target):
            values, _, _ = _normalised(values)
        return values

    @torch.no_grad()
    def picture(self, batch: Batch, random: SampleRandom) -> Picture | None:
        """What is hidden and what is rebuilt of the encoder's own image, in its normalised values."""
        bands = self.encoder.spec.optical.bands
        target = next((t for t in self.targets if self._is_input(t) and set(t.channels) == set(bands)), None)
        if target is None:
            return None
        prepared = self.encoder.spec.prepare(batch)
        image, mask = self._image(prepared), self.mask(prepared, random)
        patch, grid = self.encoder.patch, self.encoder.grid(image)
        order = [target.channels.index(b) for b in bands]
        prediction = unpatchify(self.predict(self.decode(prepared, mask))[target.name].float(), patch, grid)[:, order]
        true = patchify(image.pixels[:, 0], patch)
        rebuilt = patchify(prediction, patch)
        if self.norm_pixels:  # undo it with the true patch statistics, as MAE's own visualisation does
            _, mean, scale = _normalised(true)
            rebuilt = rebuilt * scale + mean
        hidden = mask.hidden[..., None]
        return Picture(
            {
                "input": unpatchify(true * (1 - hidden), patch, grid),
                "reconstruction": unpatchify(true * (1 - hidden) + rebuilt * hidden, patch, grid),
                "truth": image.pixels[:, 0],
            }
        )

    def _image(self, prepared: Batch) -> ImageBatch:
        return prepared[next(iter(self.encoder.spec.roles))]

    def _is_input(self, target: Modality) -> bool:
        """Whether the encoder sees everything of this modality."""
        role = next(iter(self.encoder.spec.roles))
        return target.role == role and set(target.channels) <= set(self.encoder.spec.optical.bands)

    def _values(self, target: Modality) -> int:
        return len(target.channels) * (self.encoder.patch**2 if target.scope == "pixel" else 1)


def _modalities(targets: Sequence[Mapping[str, Any] | Modality] | None, encoder: ConvNeXt) -> list[Modality]:
    if not targets:
        role, spec = next(iter(encoder.spec.roles.items()))
        own = Modality(name=role, role=role, scope="pixel", kind="continuous", channels=spec.bands, unit=spec.unit)
        return [own]
    bare = [t for t in targets if isinstance(t, str)]
    if bare:
        raise RecipeError(f"the modality {bare[0]} is only a name", mend="A recipe looks it up in its dataset.")
    full = [Modality.model_validate(t) for t in targets]
    names = [t.name for t in full]
    if len(set(names)) < len(names) or {"total", "absent"} & set(names):
        raise RecipeError("every modality needs a name of its own, not total or absent", found=", ".join(names))
    return full


def _normalised(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Patches (N, L, V) by the mean and the standard deviation of what is known in each; and these two (N, L, 1)."""
    known = patches.isfinite()
    count = known.sum(-1, keepdim=True)
    mean = torch.where(known, patches, 0.0).sum(-1, keepdim=True) / count.clamp_min(1)
    centred = patches - mean
    squares = torch.where(known, centred.square(), 0.0).sum(-1, keepdim=True)
    scale = (squares / (count - 1).clamp_min(1) + 1e-6).sqrt()
    return centred / scale, mean, scale
