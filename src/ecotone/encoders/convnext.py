"""ConvNeXt V2 over one multi-band image; visible patches only where they are given, without sparse convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from ecotone.encoders.base import Encoder, Features, Readout, layer_indices, single_image
from ecotone.errors import RecipeError
from ecotone.inputs import InputSpec
from ecotone.nn.cells import Cells
from ecotone.nn.convnext import Block, Downsample, GrnPooling, InitialConv, Stem, init_weights
from ecotone.nn.patches import fit_stem
from ecotone.samples import Batch, ImageBatch

# Woo et al. 2023, table 9: width of the first stage, which doubles with each, and blocks.
SIZES: dict[str, dict[str, Any]] = {
    name: {"dims": tuple(width * 2**i for i in range(4)), "depths": depths}
    for name, width, depths in (
        ("atto", 40, (2, 2, 6, 2)),
        ("femto", 48, (2, 2, 6, 2)),
        ("pico", 64, (2, 2, 6, 2)),
        ("nano", 80, (2, 2, 8, 2)),
        ("tiny", 96, (3, 3, 9, 3)),
        ("base", 128, (3, 3, 27, 3)),
        ("large", 192, (3, 3, 27, 3)),
        ("huge", 352, (3, 3, 27, 3)),
    )
}


class ConvNeXt(Encoder):
    """The encoder of MP-MAE. Layers 0 to 3 are its stages, of strides k, 2k, 4k and 8k with k = patch / 8.

    Args:
        spec: Its one role gives the number of channels.
        readout: How features become one vector; there is no class token.
        patch: Side in pixels of a cell of the last map, a multiple of 8; masking hides whole patches.
        dims: Channels of the four stages.
        depths: Blocks of the four stages.
        stem: ``initial-conv`` (MP-MAE): 3 x 3 convolution, LayerNorm and GELU at full resolution, then a depthwise
            k x k convolution; ``patch`` (ConvNeXt): one k x k convolution. Both have stride k and end in a LayerNorm.
        stem_padding: Padding of the 3 x 3 convolution. The authors' classifier has none (and pads the k x k one
            where k is above 1), which loses the border and shifts the grid against that of pretraining.
        grn_eps: Epsilon of global response normalisation; the authors' dense models have 1e-4.
        grn_pooling: ``sample``: features of an image do not depend on its batch; ``batch``: norms over the visible
            cells of all images, as the authors' sparse pretraining computes them.
        zero_sites: When patches are masked, visible pixels that are exactly zero in all channels count as hidden, as
            in the authors' sparse tensors, instead of those that were not observed.
        released_init: Draw depthwise kernels and linear layers with a standard deviation of 1, cut at 2, instead of
            0.02: what the authors' initialisation comes to.
    """

    kind = "convnext"
    sizes: ClassVar[dict[str, dict[str, Any]]] = SIZES

    def __init__(
        self,
        spec: InputSpec,
        readout: Readout | None = None,
        *,
        patch: int = 8,
        dims: Sequence[int] = SIZES["atto"]["dims"],
        depths: Sequence[int] = SIZES["atto"]["depths"],
        stem: Literal["initial-conv", "patch"] = "initial-conv",
        stem_padding: Literal[0, 1] = 1,
        grn_eps: float = 1e-6,
        grn_pooling: GrnPooling = "sample",
        zero_sites: bool = False,
        released_init: bool = False,
    ) -> None:
        super().__init__(spec, readout)
        _check(self.readout, patch, dims, depths)
        self._config = {
            "patch": patch,
            "dims": list(dims),
            "depths": list(depths),
            "stem": stem,
            "stem_padding": stem_padding,
            "grn_eps": grn_eps,
            "grn_pooling": grn_pooling,
            "zero_sites": zero_sites,
            "released_init": released_init,
        }
        self.patch, self.zero_sites, self.stem_padding = patch, zero_sites, stem_padding
        bands, step = len(spec.optical.bands), patch // 8
        full = stem == "initial-conv"
        self.strides = [1] * full + [step, step, 2 * step, 4 * step, patch]
        self.initial_conv = InitialConv(bands, dims[0], stem_padding) if full else None
        pad = 1 if step > 1 and not stem_padding else 0
        self.stem = Stem(dims[0] if full else bands, dims[0], step, depthwise=full, padding=pad)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(dim, grn_eps, grn_pooling) for _ in range(depth))
            for dim, depth in zip(dims, depths, strict=True)
        )
        self.downsample_layers = nn.ModuleList(Downsample(a, b) for a, b in pairwise(dims))
        for module in self.modules():
            depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
            init_weights(module, wide=released_init and (depthwise or isinstance(module, nn.Linear)))

    @property
    def width(self) -> int:
        return self._config["dims"][-1]

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    @classmethod
    def size_multiple(cls, config: Mapping[str, Any]) -> int:
        return config.get("patch", 8)

    def fit_state(self, state: Mapping[str, Tensor], bands: Sequence[str]) -> dict[str, Tensor]:
        first = "stem.0.weight" if self.initial_conv is None else "initial_conv.0.weight"
        return {**state, first: fit_stem(state[first], bands, self.spec.optical.bands)}

    def forward_features(self, prepared: Batch, keep: Tensor | None = None) -> Features:
        """The four stages, or the last one of the patches in ``keep`` (N, K) with zeros at the others.

        ``pooled`` is of the last stage, and of the visible cells only.
        """
        if keep is None:
            return self._features(prepared, (-4, -3, -2, -1), pooled=1)
        *_, (x, cells) = self.outputs(self._image(prepared), keep)
        assert cells is not None
        seen = x.transpose(1, 2).unsqueeze(-1)
        pooled = self.readout.pool(Features(maps=[seen], strides=[self.patch], pooled=seen))
        return Features(maps=[cells.spread(x).permute(0, 3, 1, 2)], strides=[self.patch], pooled=pooled, tokens=x)

    def forward_intermediates(self, prepared: Batch, layers: Sequence[int]) -> Features:
        """Maps of these stages, in the order given: 0 to 3, or -1 for the last."""
        return self._features(prepared, [i - 4 for i in layer_indices(layers, 4)], pooled=len(layers))

    def forward_pyramid(self, prepared: Batch) -> Features:
        """All maps that a U-Net may skip to: the full-resolution convolution, the stem, and the four stages."""
        return self._features(prepared, range(-len(self.strides), 0), pooled=1)

    def grid(self, image: ImageBatch) -> tuple[int, int]:
        """Rows and columns of patches."""
        return image.size[0] // self.patch, image.size[1] // self.patch

    def outputs(self, image: ImageBatch, keep: Tensor | None = None) -> Iterator[tuple[Tensor, Cells | None]]:
        """Outputs of the full-resolution convolution (if there is one), the stem and each stage, from shallow to deep.

        Yields:
            Maps (N, H, W, C) and None; or, with ``keep`` (N, K), packed cells (N, M, C) and where they lie.
        """
        x, cells = image.pixels[:, 0].permute(0, 2, 3, 1), None
        if keep is not None:
            x, cells = self._visible(image, Cells(keep, self.grid(image), self.patch))
        if self.initial_conv is not None:
            x = self.initial_conv(x, cells)
            yield x, cells
        x, cells = _reduce(self.stem, x, cells)
        yield x, cells
        for i, stage in enumerate(self.stages):
            if i:
                x, cells = _reduce(cast(Downsample, self.downsample_layers[i - 1]), x, cells)
            for block in cast(nn.ModuleList, stage):
                x = block(x, cells)
            yield x, cells

    def _visible(self, image: ImageBatch, cells: Cells) -> tuple[Tensor, Cells]:
        """Pixels of visible patches, packed, and where they lie."""
        if not self.stem_padding:
            raise RecipeError("stem_padding: 0 moves the grid of patches, so that they cannot be masked")
        x, active = cells.pack(image.pixels[:, 0].permute(0, 2, 3, 1)), None
        if self.zero_sites:
            active = (x != 0).any(-1, keepdim=True).to(x.dtype)
        elif image.valid is not None:
            # A LayerNorm of a vector of zeros multiplies its gradient by a thousand, and many follow one another.
            active = cells.pack(image.valid[:, 0, :, :, None].to(x.dtype))
        return x, Cells(cells.keep, cells.grid, cells.side, active)

    def _image(self, prepared: Batch) -> ImageBatch:
        return single_image(self.spec, prepared, self.patch)

    def _features(self, prepared: Batch, chosen: Sequence[int], pooled: int) -> Features:
        """These outputs, negative indices from the last; the last ``pooled`` of them make the vector."""
        count = len(self.strides)
        outputs = list(islice(self.outputs(self._image(prepared)), count + max(chosen) + 1))
        maps = [outputs[count + i][0].permute(0, 3, 1, 2) for i in chosen]
        strides = [self.strides[i] for i in chosen]
        read = Features(maps=maps[-pooled:], strides=strides[-pooled:], pooled=maps[-1])
        tokens = maps[-1].flatten(2).transpose(1, 2)
        return Features(maps=maps, strides=strides, pooled=self.readout.pool(read), tokens=tokens)


def _check(readout: Readout, patch: int, dims: Sequence[int], depths: Sequence[int]) -> None:
    if readout.pooling == "class":
        raise RecipeError("a ConvNeXt has no class token to pool", found="class", expected="mean or mean-std")
    if patch < 8 or patch % 8:
        raise RecipeError("a ConvNeXt reduces by 8 after its stem", found=f"patch {patch}", expected="a multiple of 8")
    if len(dims) != 4 or len(depths) != 4:
        raise RecipeError("a ConvNeXt has four stages", found=f"dims {list(dims)}, depths {list(depths)}")


def _reduce(layer: Stem | Downsample, x: Tensor, cells: Cells | None) -> tuple[Tensor, Cells | None]:
    x = layer(x, cells)
    if cells is None:
        return x, None
    cells = cells.coarser(layer.step)
    return cells.only(x), cells
