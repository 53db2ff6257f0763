"""From an official checkpoint to a model folder: strictly, with a report of what was filled and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ecotone
from ecotone.encoders import Encoder, build_encoder, encoder_class
from ecotone.errors import CheckpointError, DataError
from ecotone.methods import Method, build_method
from ecotone.methods.released import Released
from ecotone.weights.model import CARD, save_method_state, save_model
from ecotone.weights.official import Converted, OfficialCheckpoint, read_checkpoint
from ecotone.weights.official.methods import convert


@dataclass(frozen=True)
class Coverage:
    """How many tensors of a part the file filled."""

    filled: int
    expected: int

    def __str__(self) -> str:
        return f"{self.filled} of {self.expected} tensors"


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        file: Name of the official file.
        sha256: Of that file.
        method: Kind of the method.
        epoch: The last epoch of its training, where it tells.
        encoder: Coverage of the encoder; all of it, or the import is refused.
        decoder: Coverage of the pretraining decoder; None where the file has none or it was not asked for.
        parameters: Numbers in the encoder.
        ignored: Official name -> why it was left out.
        allowed: Official names that were left out because the caller said so.
        folder: The model folder.
    """

    file: str
    sha256: str
    method: str
    epoch: int | None
    encoder: Coverage
    decoder: Coverage | None
    parameters: int
    ignored: dict[str, str]
    allowed: tuple[str, ...]
    folder: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Imported:
    """Official weights in our encoder and, if the file has the decoder, our method around it."""

    encoder: Encoder
    method: Method | None
    bundle: Released
    image_size: int
    report: ImportReport


def import_official(
    file: str | Path,
    method: str,
    out: str | Path,
    *,
    name: str | None = None,
    heads: int | None = None,
    decoder_heads: int | None = None,
    encoder_only: bool = False,
    allow: Sequence[str] = (),
    url: str | None = None,
) -> ImportReport:
    """Convert an official checkpoint to a model folder, with the decoder beside it where the file has one.

    Args:
        file: What the authors released.
        method: ``scale-mae``, ``spectral-gpt`` or ``mp-mae``.
        out: The model folder to write.
        name: Of the model; default the file's name.
        heads: Attention heads of the encoder, for a width that was not published.
        decoder_heads: Attention heads of the decoder, where they are not the method's default.
        encoder_only: Leave the decoder out.
        allow: Patterns (``head.*``) of official names to leave out although they are not known.
        url: Where the file was had, for the provenance.

    Raises:
        CheckpointError: The file cannot be read as data, is of another method, has tensors that are not known, or
            does not fill the whole encoder.
        DataError: The folder holds a model already, or cannot be written.
    """
    out = Path(out)
    if (out / CARD).exists():
        raise DataError(f"{out} holds a model already", mend="Choose another --out.")
    checkpoint = read_checkpoint(file)
    imported = adopt(checkpoint, method, heads, decoder_heads, encoder_only, allow)
    if imported.method is not None:
        save_method_state(imported.method.state_dict(), out)
    save_model(
        imported.encoder,
        out,
        name=name or checkpoint.path.stem,
        image_size=imported.image_size,
        provenance=_provenance(checkpoint, imported, url),
    )
    return ImportReport(**{**vars(imported.report), "folder": str(out)})


def adopt(
    checkpoint: OfficialCheckpoint,
    method: str,
    heads: int | None = None,
    decoder_heads: int | None = None,
    encoder_only: bool = False,
    allow: Sequence[str] = (),
) -> Imported:
    """Official weights in our encoder and method; nothing is written. Arguments as of ``import_official``."""
    allowed = tuple(sorted(n for n in checkpoint.state if any(fnmatchcase(n, pattern) for pattern in allow)))
    converted, bundle = convert(method, {k: v for k, v in checkpoint.state.items() if k not in allowed})
    if converted.unexpected:
        raise CheckpointError(
            f"{checkpoint.path.name} holds {len(converted.unexpected)} tensors that {method} does not know",
            found=", ".join(converted.unexpected[:5]),
            mend="If they are not needed, name them with --allow, such as --allow 'head.*'.",
        )
    with torch.device("meta"):  # shapes first: a hostile file may claim any
        encoder = _encoder(bundle, converted, heads)
        around = None if encoder_only or not converted.decoder else _method(bundle, converted, encoder, decoder_heads)
    full = _fill(encoder, converted.encoder, checkpoint.path.name, "encoder")
    rest = None
    if around is not None:
        own = {k: v for k, v in around.state_dict().items() if not k.startswith("encoder.")}
        rest = _check(own, converted.decoder, checkpoint.path.name, "decoder")
        around.load_state_dict(_float(converted.decoder), strict=False, assign=True)
    ignored = dict(converted.ignored)
    if encoder_only:
        ignored |= {f"{n} (our name)": "only the encoder was asked for" for n in converted.decoder}
    report = ImportReport(
        file=checkpoint.path.name,
        sha256=checkpoint.sha256,
        method=method,
        epoch=checkpoint.epoch,
        encoder=full,
        decoder=rest,
        parameters=sum(p.numel() for p in encoder.parameters()),
        ignored=ignored,
        allowed=allowed,
    )
    return Imported(encoder.eval(), around, bundle, converted.image_size or bundle.image_size, report)


def _encoder(bundle: Released, converted: Converted, heads: int | None) -> Encoder:
    options = {**bundle.encoder, **converted.encoder_options}
    if "width" in options:
        options["heads"] = heads or _published_heads(bundle.encoder_kind, options["width"])
    return build_encoder(bundle.encoder_kind, bundle.input, bundle.readout, options)


def _published_heads(kind: str, width: int) -> int:
    """No shape tells the number of heads, but each width was published with one number."""
    known = {size["width"]: size["heads"] for size in encoder_class(kind).sizes.values()}
    if width not in known:
        raise CheckpointError(
            f"the number of attention heads at width {width} is not known",
            expected="a width of " + " or ".join(map(str, sorted(known))),
            mend="Give --heads, and --decoder-heads if the decoder's are not the method's default.",
        )
    return known[width]


def _method(bundle: Released, converted: Converted, encoder: Encoder, heads: int | None) -> Method:
    options = {**bundle.options, **converted.method_options}
    return build_method(bundle.method, encoder, {**options, **({"decoder_heads": heads} if heads else {})})


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], file: str, part: str) -> Coverage:
    coverage = _check(module.state_dict(), tensors, file, part)
    module.load_state_dict(_float(tensors), strict=True, assign=True)
    return coverage


def _check(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], file: str, part: str) -> Coverage:
    """Every tensor of the part and no other, of the same shape, all finite."""
    ours = {k: tuple(v.shape) for k, v in expected.items()}
    theirs = {k: tuple(v.shape) for k, v in found.items()}
    odd = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
    coverage = Coverage(sum(theirs.get(k) == v for k, v in ours.items()), len(ours))
    if odd:
        raise CheckpointError(
            f"{file} fits {coverage} of the {part}; {len(odd)} differ, such as {', '.join(odd[:3])}",
            found=theirs.get(odd[0], "absent"),
            expected=ours.get(odd[0], "absent"),
            mend="Get the whole file." if part == "encoder" else "Get the whole file, or give --encoder-only.",
        )
    spoilt = [k for k, v in found.items() if not v.is_meta and not bool(v.isfinite().all())]
    if spoilt:
        raise CheckpointError(f"{file} holds values that are not finite, in {', '.join(sorted(spoilt)[:3])}")
    return coverage


def _float(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.float() for k, v in tensors.items()}


def _provenance(checkpoint: OfficialCheckpoint, imported: Imported, url: str | None) -> dict[str, Any]:
    report, method = imported.report, imported.method
    return {
        "ecotone": ecotone.__version__,
        "imported_from": {"file": report.file, "url": url, "sha256": report.sha256},
        "method": {"kind": report.method, "config": method.config() if method else None},
        "epoch": report.epoch,
        "args": checkpoint.args,
        "coverage": {"encoder": str(report.encoder), "decoder": str(report.decoder) if report.decoder else None},
        "ignored": report.ignored,
        "allowed": list(report.allowed),
        "licence": imported.bundle.licence,
        "citation": imported.bundle.citation,
    }
