"""Vision transformer over one multi-band image, with plain or GSD-scaled positions computed for any grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ecotone.encoders.base import Encoder, Features, Readout, layer_indices, single_image
from ecotone.inputs import InputSpec
from ecotone.nn.masking import take
from ecotone.nn.patches import PatchEmbed, fit_stem, patchify
from ecotone.nn.positions import sincos_positions
from ecotone.nn.transformer import Block, init_linear
from ecotone.samples import Batch, ImageBatch

# Touvron et al. 2021 for tiny and small; Dosovitskiy et al. 2021 for the rest.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16},
    "huge": {"width": 1280, "depth": 32, "heads": 16},
}


class ViT(Encoder):
    """The encoder of MAE and Scale-MAE.

    Args:
        spec: Its one role gives the number of channels.
        readout: How features become one vector.
        patch: Side of a patch in pixels.
        width: Token length D, a multiple of 4 and of ``heads``.
        depth: Transformer blocks.
        heads: Attention heads.
        mlp_ratio: Hidden size of the MLP as a multiple of the width.
        positions: ``sincos`` (MAE) or ``gsd`` (Scale-MAE: scaled by GSD / ``reference_gsd``, per image).
        reference_gsd: Metres per pixel at which ``gsd`` positions equal ``sincos`` ones (G of the paper).
        evaluation_scale: One factor of the positions for all images outside training, whatever their GSD. The
            released Scale-MAE is used with 1.0 by its authors, although it was trained with 2.2 to 5.0; None follows
            the true GSD.
    """

    kind = "vit"
    sizes: ClassVar[dict[str, dict[str, Any]]] = SIZES

    def __init__(
        self,
        spec: InputSpec,
        readout: Readout | None = None,
        *,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        positions: Literal["sincos", "gsd"] = "sincos",
        reference_gsd: float = 1.0,
        evaluation_scale: float | None = None,
    ) -> None:
        super().__init__(spec, readout)
        self.evaluation_scale = evaluation_scale
        self.patch, self.positions, self.reference_gsd = patch, positions, reference_gsd
        self.heads, self.mlp_ratio = heads, mlp_ratio
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(init_linear)
        self.patch_embed = PatchEmbed(len(spec.optical.bands), width, patch)
        nn.init.normal_(self.cls_token, std=0.02)

    @property
    def width(self) -> int:
        return self.cls_token.shape[-1]

    def config(self) -> dict[str, Any]:
        return {
            "patch": self.patch,
            "width": self.width,
            "depth": len(self.blocks),
            "heads": self.heads,
            "mlp_ratio": self.mlp_ratio,
            "positions": self.positions,
            "reference_gsd": self.reference_gsd,
            "evaluation_scale": self.evaluation_scale,
        }

    @classmethod
    def size_multiple(cls, config: Mapping[str, Any]) -> int:
        return config.get("patch", 16)

    @classmethod
    def needs_gsd(cls, config: Mapping[str, Any]) -> bool:
        return config.get("positions") == "gsd" and config.get("evaluation_scale") is None

    def fit_state(self, state: Mapping[str, Tensor], bands: Sequence[str]) -> dict[str, Tensor]:
        stem = "patch_embed.proj.weight"  # positions are computed for any grid
        return {**state, stem: fit_stem(state[stem], bands, self.spec.optical.bands)}

    def forward_features(self, prepared: Batch, keep: Tensor | None = None) -> Features:
        """Encode to the last layer; with ``keep`` (N, K) only these tokens are embedded and encoded at all."""
        image = self._image(prepared)
        x = self._embed(image, keep)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if keep is None:
            return self._features(image, [x])
        return Features(maps=[], strides=[], pooled=x[:, 0], tokens=x[:, 1:], class_tokens=[x[:, 0]])

    def forward_intermediates(self, prepared: Batch, layers: Sequence[int]) -> Features:
        """Maps of these layers, in the order given: 0 is the first block, -1 the last, after the final norm."""
        image = self._image(prepared)
        depth = len(self.blocks)
        wanted = layer_indices(layers, depth)
        x, outputs = self._embed(image, None), {}
        for i, block in enumerate(self.blocks[: max(wanted) + 1]):
            x = block(x)
            if i in wanted:
                outputs[i] = self.norm(x) if i == depth - 1 else x
        return self._features(image, [outputs[i] for i in wanted])

    def position_scale(self, image: ImageBatch) -> Tensor | None:
        """(N,) factor of the positions: GSD over reference GSD, or None for plain positions."""
        if self.positions != "gsd":
            return None
        if self.evaluation_scale is not None and not self.training:
            return torch.full_like(image.gsd, self.evaluation_scale)
        return image.gsd / self.reference_gsd

    def grid(self, image: ImageBatch) -> tuple[int, int]:
        """Rows and columns of patches."""
        return image.size[0] // self.patch, image.size[1] // self.patch

    def _image(self, prepared: Batch) -> ImageBatch:
        return single_image(self.spec, prepared, self.patch)

    def _embed(self, image: ImageBatch, keep: Tensor | None) -> Tensor:
        """(N, 1+L, D) class token and patch tokens with positions, all L or those in ``keep``."""
        patches = patchify(image.pixels[:, 0], self.patch, channels_last=False)
        positions = sincos_positions(self.width, self.grid(image), self.position_scale(image)).to(patches.device)
        if keep is not None:
            patches = take(patches, keep)
            positions = take(positions.expand(len(patches), -1, -1), keep)
        x = self.patch_embed(patches) + positions
        return torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], 1)

    def _features(self, image: ImageBatch, layers: list[Tensor]) -> Features:
        rows, cols = self.grid(image)
        maps = [x[:, 1:].transpose(1, 2).unflatten(2, (rows, cols)) for x in layers]
        features = Features(
            maps=maps,
            strides=[self.patch] * len(maps),
            pooled=layers[-1][:, 0],
            tokens=layers[-1][:, 1:],
            class_tokens=[x[:, 0] for x in layers],
        )
        return Features(**{**vars(features), "pooled": self.readout.pool(features)})
