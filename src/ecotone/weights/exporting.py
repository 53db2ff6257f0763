"""Models for other programs: one safetensors file, or ONNX with the normalisation inside and a numeric check."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ecotone.encoders import Encoder
from ecotone.errors import CheckpointError, RecipeError
from ecotone.files import replacing
from ecotone.inputs import NORMALISED, RoleSpec, ZScoreByLevel
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit
from ecotone.weights.model import Model, load_model
from ecotone.weights.probing import level_of, synthetic_batch

OPSET = 20
ONE_FILE = 2**31 - 2**20  # protobuf, and so an ONNX file, ends at 2 GiB
TOLERANCE = 1e-4  # of the largest feature: float32 in another order of summation


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        file: The file.
        format: ``safetensors`` or ``onnx``.
        inputs: Name -> what it holds.
        outputs: Name -> what it holds.
        largest_difference: ONNX: the largest absolute difference to PyTorch on synthetic images.
        largest_feature: ONNX: the largest absolute feature, beside which the difference is to be seen.
    """

    file: str
    format: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    largest_difference: float | None = None
    largest_feature: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def export(
    path: str | Path,
    out: str | Path,
    format: str,
    *,
    size: int | None = None,
    level: str | None = None,
) -> Export:
    """Write a model for use without this package.

    Args:
        path: Model folder, run or catalogue name.
        out: The file to write.
        format: ``safetensors``: weights, with the card as JSON under ``ecotone`` in the metadata. ``onnx``: a graph
            from raw pixels in the model's unit to features, for any number of images of one size.
        size: ONNX: side in pixels; default what the model was trained at.
        level: ONNX: processing level whose statistics go into the graph, for models that have them by level.

    Raises:
        CheckpointError: There is no model, or the ONNX graph does not compute what the model does.
        RecipeError: An unknown format, a size or level that the model does not take, or a package that is missing.
    """
    model, out = load_model(path), Path(out)
    if format == "safetensors":
        return _safetensors(model, out)
    if format != "onnx":
        raise RecipeError("unknown format", found=format, expected="safetensors or onnx")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise RecipeError(
            f"export to ONNX needs the packages {', '.join(missing)}", mend='Install them: pip install "ecotone[onnx]".'
        )
    return _onnx(model, out, size or model.card.encoder.image_size, level)


def _safetensors(model: Model, out: Path) -> Export:
    card = json.dumps(model.card.model_dump(mode="json"))
    with replacing(out) as temporary:
        save_file(
            {k: v.contiguous() for k, v in model.encoder.state_dict().items()},
            temporary,
            metadata={"format": "pt", "ecotone": card},
        )
    return Export(str(out), "safetensors", {}, {"tensors": f"{len(model.encoder.state_dict())} of the encoder"})


class Graph(nn.Module):
    """From raw pixels to features, without the checks that a graph cannot hold.

    Args:
        encoder: Of one role.
        level: Processing level whose statistics are used.
    """

    def __init__(self, encoder: Encoder, level: str | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.role, self.accepted = next(iter(encoder.spec.roles.items()))
        normaliser = self.accepted.normaliser
        self.normaliser = normaliser.levels[str(level)] if isinstance(normaliser, ZScoreByLevel) else normaliser

    def forward(self, pixels: Tensor, gsd: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in the model's bands and unit, and (N,) metres per pixel, to (N, D) and (N, C', h, w)."""
        accepted = self.accepted
        raw = ImageBatch.of(pixels, bands=accepted.bands, unit=unit(accepted.unit), gsd=gsd)
        ready = replace(raw, pixels=self.normaliser.apply(raw.pixels, raw), unit=NORMALISED)
        batch = Batch({self.role: ready}, keys=(), seeds=torch.zeros(0, dtype=torch.int64))
        features = self.encoder.forward_intermediates(batch, self.encoder.readout.layers)
        return features.pooled, features.maps[-1]


def _onnx(model: Model, out: Path, size: int, level: str | None) -> Export:
    spec = model.card.input
    if len(spec.roles) > 1:
        raise RecipeError("export to ONNX takes models of one role", found=", ".join(spec.roles))
    level = _level(spec.optical, level)
    graph = Graph(model.encoder, level).eval()
    if sum(p.numel() * 4 for p in graph.parameters()) > ONE_FILE:
        raise CheckpointError("the model does not fit one ONNX file, which ends at 2 GiB", mend="Export safetensors.")
    trials = [synthetic_batch(spec, size, count, level=level) for count in (2, 3)]
    bands = spec.optical.bands
    inputs = {"pixels": f"(N, {len(bands)}, {size}, {size}) float32: {', '.join(bands)} in {spec.optical.unit}"}
    if model.encoder.needs_gsd(model.encoder.config()):
        inputs["gsd"] = "(N,) float32: metres per pixel"
    with replacing(out) as temporary, _quiet():
        _trace(graph, _values(trials[0], list(inputs))).save(temporary, external_data=False)
        difference, largest, outputs = compare(model.encoder, temporary, trials)
    return Export(str(out), "onnx", inputs, outputs, difference, largest)


def _trace(graph: Graph, inputs: tuple[Tensor, ...]) -> Any:
    """The ONNX program of a graph, for any number of images."""
    batch = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    # strict: len(tensor), which encoders use, would otherwise fix the number of images
    traced = torch.export.export(graph, inputs, dynamic_shapes=batch, strict=True)
    return torch.onnx.export(
        traced,
        dynamo=True,
        input_names=["pixels", "gsd"][: len(inputs)],
        output_names=["pooled", "map"],
        opset_version=OPSET,
        verbose=False,
    )


def _values(batch: Batch, names: Sequence[str]) -> tuple[Tensor, ...]:
    """What a graph with these inputs is given for a batch of one role."""
    image = next(iter(batch.images.values()))
    return tuple(image.pixels[:, 0] if name == "pixels" else image.gsd for name in names)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about packages that are not needed, and about its own parts."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(before)


def _level(spec: RoleSpec, level: str | None) -> str | None:
    normaliser = spec.normaliser
    if not isinstance(normaliser, ZScoreByLevel):
        return None
    chosen = level or level_of(spec)
    if chosen not in normaliser.levels:
        known = " or ".join(normaliser.levels)
        raise RecipeError("the model has no statistics of this level", found=chosen, expected=known)
    return chosen


def compare(encoder: Encoder, file: Path, trials: Sequence[Batch]) -> tuple[float, float, dict[str, str]]:
    """The largest absolute difference between ONNX Runtime and the encoder, the largest feature, and what comes out.

    Raises:
        CheckpointError: The difference is more than rounding.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    difference = largest = 0.0
    for batch in trials:
        with torch.inference_mode():
            features = encoder(batch)
        found = session.run(None, {n: v.numpy() for n, v in zip(names, _values(batch, names), strict=True)})
        for ours, theirs in zip((features.pooled, features.maps[-1]), found, strict=True):
            difference = max(difference, float((ours - torch.from_numpy(theirs)).abs().max()))
            largest = max(largest, float(ours.abs().max()))
    if not difference <= TOLERANCE * largest:
        raise CheckpointError(
            "the ONNX graph does not compute what the model does",
            found=f"features that differ by {difference:.2g}, where the largest is {largest:.2g}",
            expected=f"at most {TOLERANCE * largest:.2g}",
        )
    shapes = {o.name: f"(N, {', '.join(map(str, o.shape[1:]))}) float32" for o in session.get_outputs()}
    return difference, largest, shapes
