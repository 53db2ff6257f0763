"""Starting from the weights of an earlier run or an imported model, at another size or with other bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecotone.errors import CheckpointError
from ecotone.methods import Method
from ecotone.weights import load_method_state, load_model


def start_from(method: Method, folder: str | Path) -> dict[str, Any]:
    """Carry the weights of a run or model folder over to a new method.

    The encoder must be of the same architecture; positions and stems are fitted to the new size and bands. The
    decoder is carried over as far as its tensors have the same names and shapes.

    Returns:
        For the provenance: the source's ``name`` and ``hash``, and the tensors that start ``fresh``.

    Raises:
        CheckpointError: There is no model, or its encoder is of another architecture.
    """
    model = load_model(folder)
    saved = load_method_state(folder) or {f"encoder.{k}": v for k, v in model.encoder.state_dict().items()}
    fitted = method.fit_state(saved, model.encoder.spec.optical.bands)
    own = {name: tuple(tensor.shape) for name, tensor in method.state_dict().items()}
    odd = [k for k, v in fitted.items() if own.get(k) != tuple(v.shape)]
    missing = [k for k in own if k.startswith("encoder.") and k not in fitted]
    if odd or missing:
        raise CheckpointError(
            f"the encoder in {folder} is of another architecture than the recipe's",
            found=f"{model.card.encoder.kind} {model.card.encoder.config}",
            expected=f"{method.encoder.kind} {method.encoder.config()}",
            mend=f"Make the encoder sections agree; the first tensor that differs is {(odd or missing)[0]}.",
        )
    method.load_state_dict(fitted, strict=False)
    return {"name": model.name, "hash": model.hash, "fresh": sorted(own.keys() - fitted.keys())}
