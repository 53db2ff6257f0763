"""A model in three lines: load it, embed a raster, search what it found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch

import ecotone
from ecotone.embeddings import Store, open_store
from ecotone.embeddings.html import card_html
from ecotone.errors import CheckpointError, RecipeError, nearest
from ecotone.files import cache_folder
from ecotone.inference.embed import embed_raster
from ecotone.inference.embedder import EmbedOptions, spec_hash
from ecotone.inference.predict import Prediction, predict_raster
from ecotone.inference.prediction_job import PredictOptions
from ecotone.rasters import Raster, open_raster
from ecotone.weights import LoadedPredictor, Model, is_predictor, load_model, load_predictor

Source = str | Path | Sequence[str | Path] | Raster
_OPENING = tuple(name for name in signature(open_raster).parameters if name != "source")


@dataclass(frozen=True, repr=False)
class Loaded:
    """A model ready to use on rasters.

    Attributes:
        model: The encoder with its card.
        predictor: Its head, if it is a predictor.
    """

    model: Model
    predictor: LoadedPredictor | None = None

    def embed(self, source: Source, out: str | Path | None = None, **options: Any) -> Store:
        """Embed a raster of any size, and open the result.

        Args:
            source: What ``open_raster`` takes, or an open raster.
            out: A ``.parquet`` file or a folder; None for the cache, where the same raster, model and options are
                found again.
            options: Those of ``EmbedOptions`` (``per``, ``chip``, ``overlap`` …), and of ``open_raster`` (``sensor``,
                ``bands``, ``unit``, ``gsd`` …).

        Raises:
            RecipeError: There is no such option.
            EcotoneError: The raster cannot be read or does not meet the model's InputSpec; one clear sentence.
        """
        chosen, said = _sort(EmbedOptions, options)
        with _opened(source, said) as raster:
            if out is None:
                out = self._cached(raster, chosen)
                if out.is_file() and all(Path(p).exists() for p in raster.paths):  # else it may have changed unseen
                    return open_store(out)
            embed_raster(self.model, raster, out=out, options=chosen, command="ecotone.load(…).embed(…)")
        return open_store(out)

    def predict(self, source: Source, out: str | Path, **options: Any) -> Prediction:
        """Predict a raster of any size as a cloud-optimised GeoTIFF.

        Args:
            source: What ``open_raster`` takes, or an open raster.
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
        with _opened(source, said) as raster:
            return predict_raster(self.predictor, raster, out=out, options=chosen)

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

    def _cached(self, raster: Raster, options: EmbedOptions) -> Path:
        """Where the cache keeps this raster's embeddings by this model with these options."""
        files = [Path(p) for p in raster.paths]
        stamps = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) if f.exists() else str(f) for f in files]
        model = (self.model.hash, spec_hash(self.model.encoder.spec), ecotone.__version__)
        key = json.dumps([stamps, repr(raster), model, {**asdict(options), "batch_size": None}], default=str)
        name = f"{files[0].stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"
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
    return kind(**{k: v for k, v in options.items() if k in fields}), {
        k: v for k, v in options.items() if k in _OPENING
    }


@contextmanager
def _opened(source: Source, said: dict[str, Any]) -> Iterator[Raster]:
    if isinstance(source, Raster):
        if said:
            raise RecipeError("an open raster is taken as it is", found=", ".join(said), mend="Give its path instead.")
        yield source
        return
    with open_raster(source, **said) as raster:
        yield raster
