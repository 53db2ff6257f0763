"""Vision transformer over 3-D tokens: a group of neighbouring bands, in a patch (SpectralGPT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ecotone.encoders.base import Encoder, Features, Readout, layer_indices, single_image
from ecotone.encoders.vit import SIZES
from ecotone.errors import InputError, RecipeError
from ecotone.inputs import InputSpec
from ecotone.nn.masking import take
from ecotone.nn.patches import PatchEmbed, spectral_patchify
from ecotone.nn.positions import resize_grid, resize_line, separable_positions
from ecotone.nn.transformer import Block, init_linear
from ecotone.samples import Batch, ImageBatch


class SpectralViT(Encoder):
    """The encoder of SpectralGPT.

    Token t * h * w + r * w + c is group t of the bands in the patch of row r and column c. Its position is the sum of
    a learned one on the grid and a learned one along the spectrum; the former is interpolated to the grid of the image.

    Args:
        spec: Its one role gives the bands, which are grouped in this order.
        readout: How features become one vector, from the tokens of all groups.
        patch: Side of a patch in pixels.
        group: Bands in one token.
        pad: What completes the last group where the bands do not divide: ``error`` refuses them, ``repeat`` repeats the
            last band, ``zero`` adds bands of zeros (the mean, after a z-score).
        image_size: Side in pixels of the images that the positions are learned for; others are interpolated.
        width: Token length D, a multiple of ``heads``.
        depth: Transformer blocks.
        heads: Attention heads.
        mlp_ratio: Hidden size of the MLP as a multiple of the width.
        class_token: Prepend a class token.
        final_norm: ``tokens``: the last layer is normalised, as in pretraining. ``pooled``: the official classifiers
            normalise the pooled vector instead, and the official dense heads read the last layer as it is.
        drop_first_token: Leave the first token out of the mean, as the official classifiers do, which slice off a
            class token that is not there.
    """

    kind = "spectral-vit"
    sizes: ClassVar[dict[str, dict[str, Any]]] = {size: SIZES[size] for size in ("base", "large", "huge")}

    def __init__(
        self,
        spec: InputSpec,
        readout: Readout | None = None,
        *,
        patch: int = 8,
        group: int = 3,
        pad: Literal["error", "repeat", "zero"] = "error",
        image_size: int = 96,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        class_token: bool = False,
        final_norm: Literal["tokens", "pooled"] = "tokens",
        drop_first_token: bool = False,
    ) -> None:
        super().__init__(spec, readout)
        self._config = {k: v for k, v in locals().items() if k not in {"self", "spec", "readout", "__class__"}}
        self.patch, self.group, self.pad, self.image_size = patch, group, pad, image_size
        self.final_norm, self.drop_first_token, self.mlp_ratio = final_norm, drop_first_token, mlp_ratio
        bands = len(spec.optical.bands)
        if bands % group and pad == "error":
            raise RecipeError(
                "the bands do not divide into groups",
                found=f"{bands} bands",
                expected=f"a multiple of group: {group}",
                mend="Choose another group, other bands, or pad: repeat.",
            )
        if image_size % patch or image_size < patch:
            raise RecipeError(
                "the image size does not divide into patches",
                found=f"image_size: {image_size}",
                expected=f"a multiple of patch: {patch}",
            )
        self.groups = -(-bands // group)
        cells = (image_size // patch) ** 2
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(init_linear)
        self.patch_embed = PatchEmbed(group, width, patch)
        self.pos_embed_spatial = learned_positions(cells, width)
        self.pos_embed_spectral = learned_positions(self.groups, width)
        self.cls_token = learned_positions(1, width) if class_token else None
        self.pos_embed_class = learned_positions(1, width) if class_token else None

    @property
    def width(self) -> int:
        return self.pos_embed_spatial.shape[-1]

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    @classmethod
    def size_multiple(cls, config: Mapping[str, Any]) -> int:
        return config.get("patch", 8)

    def fit_state(self, state: Mapping[str, Tensor], bands: Sequence[str]) -> dict[str, Tensor]:
        """As the base says: positions are interpolated, and a group of bands that both know keeps its position."""
        return self.fit_positions(state, bands)

    def fit_positions(self, state: Mapping[str, Tensor], bands: Sequence[str], prefix: str = "") -> dict[str, Tensor]:
        """A state whose separable positions under this prefix are made for this image size and these bands.

        Args:
            state: Weights with ``pos_embed_spatial`` and ``pos_embed_spectral`` after the prefix.
            bands: The bands that they were learned for, in order.
            prefix: What comes before these names.
        """
        fitted, side = dict(state), self.image_size // self.patch
        spatial, spectral = f"{prefix}pos_embed_spatial", f"{prefix}pos_embed_spectral"
        if spatial in fitted:
            fitted[spatial] = resize_grid(fitted[spatial], (side, side))
        if spectral in fitted:
            fitted[spectral] = self._fit_line(fitted[spectral], bands)
        return fitted

    def _fit_line(self, line: Tensor, bands: Sequence[str]) -> Tensor:
        theirs, ours = (_groups(names, self.group) for names in (bands, self.spec.optical.bands))
        fitted = resize_line(line, self.groups).clone()
        for i, names in enumerate(ours):
            if len(theirs) == line.shape[1] and names in theirs:
                fitted[:, i] = line[:, theirs.index(names)]
        return fitted

    def forward_features(self, prepared: Batch, keep: Tensor | None = None) -> Features:
        """Encode to the last layer; with ``keep`` (N, K) only these tokens are embedded, encoded and normalised."""
        if keep is None:
            return self.forward_intermediates(prepared, (-1,))
        x = self._embed(self._image(prepared), keep)
        for block in self.blocks:
            x = block(x)
        class_tokens, tokens = self._split(self.norm(x))
        return Features(
            maps=[],
            strides=[],
            pooled=tokens.mean(1),
            tokens=tokens,
            groups=self.groups,
            class_tokens=[class_tokens] if class_tokens is not None else [],
        )

    def forward_intermediates(
        self, prepared: Batch, layers: Sequence[int], fold: Literal["concat", "mean"] = "concat"
    ) -> Features:
        """Maps of these layers, in the order given: 0 is the first block, -1 the last, after the final norm.

        Args:
            prepared: What ``spec.prepare`` returns.
            layers: Indices of blocks.
            fold: How groups become channels: side by side (channel t*D + d, as PANGAEA's dense heads read them), or
                their mean.
        """
        image = self._image(prepared)
        depth = len(self.blocks)
        wanted = layer_indices(layers, depth)
        x, outputs = self._embed(image, None), {}
        for i, block in enumerate(self.blocks[: max(wanted) + 1]):
            x = block(x)
            if i in wanted:
                outputs[i] = self.norm(x) if i == depth - 1 and self.final_norm == "tokens" else x
        return self._features(image, [outputs[i] for i in wanted], fold)

    def grid(self, image: ImageBatch) -> tuple[int, int]:
        """Rows and columns of patches."""
        return image.size[0] // self.patch, image.size[1] // self.patch

    def cut(self, images: Tensor) -> Tensor:
        """(N, T*h*w, u*p*p) blocks of images (N, C, H, W), completed to whole groups; values in band, row, column."""
        extra = self.groups * self.group - images.shape[1]
        if extra:
            last = images[:, -1:] if self.pad == "repeat" else torch.zeros_like(images[:, -1:])
            images = torch.cat([images, last.expand(-1, extra, -1, -1)], 1)
        return spectral_patchify(images, self.patch, self.group)

    def _image(self, prepared: Batch) -> ImageBatch:
        return single_image(self.spec, prepared, self.patch)

    def _embed(self, image: ImageBatch, keep: Tensor | None) -> Tensor:
        """(N, [1+]L, D) tokens with positions, all L or those in ``keep``, after the class token if there is one."""
        blocks = self.cut(image.pixels[:, 0])
        if keep is not None:
            blocks = take(blocks, keep)
        cells = resize_grid(self.pos_embed_spatial, self.grid(image))
        x = self.patch_embed(blocks) + separable_positions(self.pos_embed_spectral, cells, keep)
        return with_class_token(x, self.cls_token, self.pos_embed_class)

    def _split(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Class token (N, D) if there is one, and the other tokens."""
        return (None, x) if self.cls_token is None else (x[:, 0], x[:, 1:])

    def _features(self, image: ImageBatch, layers: list[Tensor], fold: str) -> Features:
        split = [self._split(x) for x in layers]
        # (N, T, h, w, D)
        blocks = [tokens.unflatten(1, (self.groups, *self.grid(image))) for _, tokens in split]
        if fold == "concat":
            maps = [b.permute(0, 1, 4, 2, 3).flatten(1, 2) for b in blocks]
        else:
            maps = [b.mean(1).permute(0, 3, 1, 2) for b in blocks]
        class_tokens = [c for c, _ in split if c is not None]
        return Features(
            maps=maps,
            strides=[self.patch] * len(maps),
            pooled=self._pool([tokens for _, tokens in split], class_tokens),
            tokens=split[-1][1],
            groups=self.groups,
            class_tokens=class_tokens,
        )

    def _pool(self, layers: list[Tensor], class_tokens: list[Tensor]) -> Tensor:
        """The readout's vector, from the tokens (N, L, D) of all groups: it does not depend on the fold."""
        if self.readout.pooling == "class" and not class_tokens:
            raise InputError(
                "the readout asks for the class token and this encoder has none",
                found="pooling: class",
                expected="mean or mean-std",
                mend="Choose another pooling, or class_token: true.",
            )
        tokens = [x[:, self.drop_first_token :].transpose(1, 2).unsqueeze(-1) for x in layers]
        unused = layers[-1][:, 0]
        pooled = self.readout.pool(Features(tokens, [], pooled=unused, class_tokens=class_tokens))
        if self.final_norm == "tokens":
            return pooled
        return self.norm(pooled.unflatten(1, (-1, self.width))).flatten(1)


def learned_positions(count: int, width: int) -> nn.Parameter:
    """(1, count, width) from a normal distribution of standard deviation 0.02."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, width), std=0.02))


def with_class_token(tokens: Tensor, class_token: Tensor | None, position: Tensor | None) -> Tensor:
    """Tokens (N, L, D), after the class token at its position if there is one."""
    if class_token is None or position is None:
        return tokens
    return torch.cat([(class_token + position).expand(len(tokens), -1, -1).to(tokens.dtype), tokens], 1)


def _groups(bands: Sequence[str], group: int) -> list[tuple[str, ...]]:
    """Names of the bands of each token."""
    return [tuple(bands[i : i + group]) for i in range(0, len(bands), group)]
