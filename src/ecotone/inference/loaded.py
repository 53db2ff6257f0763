"""A model in three lines: load it, embed a raster, search what it found."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch

import ecotone
from ecotone.embeddings import Store, open_store
from ecotone.embeddings.html import card_html
from ecotone.errors import CheckpointError, DataError, RecipeError, nearest
from ecotone.files import cache_folder
from ecotone.inference.embed import SUFFIXES, embed_raster
from ecotone.inference.embed_store import embed_sources
from ecotone.inference.embedder import EmbedOptions, spec_hash
from ecotone.inference.feed import Rasters, stamps
from ecotone.inference.predict import Prediction, predict_raster
from ecotone.inference.prediction_job import PredictOptions
from ecotone.rasters import Raster, Source, list_sources, open_raster
from ecotone.weights import LoadedPredictor, Model, is_predictor, load_model, load_predictor

Given = str | Path | Sequence[str | Path] | Raster | Mapping[str, str | Path | Raster]
_OPENING = tuple(name for name in signature(open_raster).parameters if name != "source")
_COMMAND = "ecotone.load(…).embed(…)"


class LeftOutWarning(UserWarning):
    """Some of several scenes could not be embedded."""


@dataclass(frozen=True, repr=False)
class Loaded:
    """A model ready to use on rasters.

    Attributes:
        model: The encoder with its card.
        predictor: Its head, if it is a predictor.
    """

    model: Model
    predictor: LoadedPredictor | None = None

    def embed(self, source: Given, out: str | Path | None = None, **options: Any) -> Store:
        """Embed rasters of any size, and open the result.

        Args:
            source: A file, a folder, a pattern, a URL or a list of these, as ``list_sources`` takes them; or an open
                raster. One scene becomes a file, several a folder. For a model of several roles a raster for each, by
                role.
            out: A ``.parquet`` file or a folder; None for the cache, where the same rasters, model and options are
                found again.
            options: Those of ``EmbedOptions`` (``per``, ``chip``, ``overlap`` …), and of ``open_raster`` (``sensor``,
                ``bands``, ``unit``, ``gsd`` …).

        Raises:
            RecipeError: There is no such option.
            EcotoneError: The raster cannot be read or does not meet the model's InputSpec; one clear sentence. Of
                several, those that fail are named in a warning, unless all do.
        """
        chosen, said = _sort(EmbedOptions, options)
        given: Given | Source = source
        if not isinstance(source, (Raster, Mapping)):
            listed = list_sources(source)
            if len(listed) > 1:
                return self._embed_all(listed, out, chosen, said)
            given = listed[0]
        with _opened(given, said) as rasters:
            if out is None:
                each = list(rasters.values()) if isinstance(rasters, Mapping) else [rasters]
                out = self._cached(each[0].paths[0], [(stamps(r.paths), repr(r)) for r in each], chosen, ".parquet")
                if out.is_file() and all(Path(p).exists() for r in each for p in r.paths):  # else it may have changed
                    return open_store(out)
            embed_raster(self.model, rasters, out=out, options=chosen, command=_COMMAND)
        return open_store(out)

    def predict(self, source: Given, out: str | Path, **options: Any) -> Prediction:
        """Predict a raster of any size as a cloud-optimised GeoTIFF.

        Args:
            source: What ``open_raster`` takes, or an open raster; for a model of several roles one for each, by role.
            out: A ``.tif`` file.
            options: Those of ``PredictOptions`` (``overlap``, ``probabilities`` …), and of ``open_raster``.

        Raises:
            CheckpointError: The model has no head.
            RecipeError: There is no such option.
            EcotoneError: The raster cannot be read or does not meet the model's InputSpec; one clear sentence.
        """
        if self.predictor is None:
            raise CheckpointError(
                f"{self.model.name} is an encoder without a head",
                expected="a predictor",
                mend="Make one with ecotone finetune.",
            )
        chosen, said = _sort(PredictOptions, options)
        with _opened(source, said) as rasters:
            return predict_raster(self.predictor, rasters, out=out, options=chosen)

    def __repr__(self) -> str:
        task = f", {self.predictor.card.task}" if self.predictor else ""
        return f"<Loaded {self.model.name!r}: {self.model.card.encoder.kind}{task}, {self.model.hash}>"

    def _repr_html_(self) -> str:
        """The facts of the model, for notebooks."""
        card, encoder = self.model.card, self.model.encoder
        told = {
            "encoder": f"{card.encoder.kind}, {sum(p.numel() for p in encoder.parameters()) / 1e6:.2f} M parameters"
        }
        for role, spec in encoder.spec.roles.items():
            gsd = "any" if spec.gsd is None else f"{spec.gsd[0]:g} to {spec.gsd[1]:g}"
            told[role] = f"{Path(spec.sensor).stem} in {spec.unit}: {', '.join(spec.bands)}; {gsd} m per pixel"
        told["trained at"] = f"{card.encoder.image_size} pixels"
        if self.predictor:
            head = self.predictor.card
            told["answers"] = f"{head.task}: {', '.join(head.classes)}" if head.classes else head.task
        told |= {"hash": self.model.hash, "folder": str(self.model.folder)}
        return card_html(f"Model {self.model.name}", told)

    def _embed_all(
        self, listed: list[Source], out: str | Path | None, options: EmbedOptions, said: dict[str, Any]
    ) -> Store:
        """Embed scenes into a folder."""
        if out is None:
            out = self._cached(str(listed[0]), [sorted(s.id for s in listed), said], options, "")
        if Path(out).suffix in SUFFIXES:
            raise RecipeError("a file holds the embeddings of one source", found=f"{len(listed)} scenes and {out}")
        report = embed_sources(self.model, listed, out=out, options=options, choices=said, command=_COMMAND)
        reasons = list(report.quarantine.values())
        if len(reasons) == len(listed):
            raise DataError(f"none of the {len(listed)} scenes can be embedded: {reasons[0]}")
        if reasons:
            left_out = f"{len(reasons)} of {len(listed)} scenes are left out"
            warnings.warn(f"{left_out}: {' '.join(reasons)}", LeftOutWarning, stacklevel=3)
        return open_store(out)

    def _cached(self, path: str, content: Any, options: EmbedOptions, suffix: str) -> Path:
        """Where the cache keeps the embeddings of something by this model with these options."""
        model = (self.model.hash, spec_hash(self.model.encoder.spec), ecotone.__version__)
        key = json.dumps([content, model, {**asdict(options), "batch_size": None}], default=str)
        name = f"{Path(path).stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}{suffix}"
        return cache_folder("embeddings") / name


def load(path: str | Path, *, device: str = "auto") -> Loaded:
    """Load a model, with its head if it has one.

    Args:
        path: A run, a model folder, or released weights by their name (``ecotone weights list``).
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    Raises:
        CheckpointError: There is no model, or it is damaged.
        RecipeError: There is no such device.
    """
    gpu = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not gpu):
        raise RecipeError(
            "no such device", found=device, expected="auto, cpu or cuda" if gpu else "auto or cpu: there is no GPU here"
        )
    place = "cuda" if device != "cpu" and gpu else "cpu"
    if is_predictor(path):
        predictor = load_predictor(path)
        predictor.predictor.to(place)
        return Loaded(predictor.model, predictor)
    model = load_model(path)
    model.encoder.to(place)
    return Loaded(model)


def _sort(kind: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Options of this kind made of some of these, and the rest, which is about opening the raster."""
    fields = kind.__dataclass_fields__
    unknown = next((name for name in options if name not in fields and name not in _OPENING), None)
    if unknown is not None:
        raise RecipeError(f"there is no option {unknown!r}", mend=nearest(unknown, (*fields, *_OPENING)))
    own = {name: value for name, value in options.items() if name in fields}
    return kind(**own), {name: value for name, value in options.items() if name not in fields}


@contextmanager
def _opened(given: Given | Source, said: dict[str, Any]) -> Iterator[Rasters]:
    with ExitStack() as files:
        if isinstance(given, Source):
            yield files.enter_context(given.open(**said))
        elif not isinstance(given, (Raster, Mapping)):
            yield files.enter_context(open_raster(given, **said))
        elif said:
            one = isinstance(given, Raster)
            what = "an open raster is taken as it is" if one else "rasters by role are taken as they are"
            raise RecipeError(what, found=", ".join(said), mend="Use ecotone.open_raster.")
        elif isinstance(given, Raster):
            yield given
        else:
            yield {r: v if isinstance(v, Raster) else files.enter_context(open_raster(v)) for r, v in given.items()}
