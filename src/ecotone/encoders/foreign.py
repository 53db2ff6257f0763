"""Any torch module as an encoder, so that it is evaluated on the same terms as all others."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ecotone.encoders.base import Encoder, Features, Readout, single_image
from ecotone.errors import CheckpointError, InputError
from ecotone.inputs import InputSpec
from ecotone.samples import Batch

PREFIX = "python:"


class Foreign(Encoder):
    """A module that takes (N, C, H, W) normalised pixels and gives vectors (N, D) or a map (N, D, h, w).

    Load trained weights into ``module`` after construction: calling ``build`` again then gives the same architecture at
    random init, which is a floor. A vector counts as a map of one cell.

    Args:
        spec: What the module accepts, in one role and one date: bands, unit, normaliser, sizes, GSD.
        readout: How a map becomes one vector.
        build: Makes the module with random weights.
        width: D.
    """

    kind = "foreign"

    def __init__(
        self, spec: InputSpec, readout: Readout | None = None, *, build: Callable[[], nn.Module], width: int
    ) -> None:
        super().__init__(spec, readout)
        self.build = build if isinstance(build, _Named) else _Named(build)
        self.module = build()
        self._width = width

    @property
    def width(self) -> int:
        return self._width

    def config(self) -> dict[str, Any]:
        return {"build": self.build, "width": self._width}

    def forward_features(self, prepared: Batch, keep: Tensor | None = None) -> Features:
        """Encode whole images.

        Raises:
            InputError: Only some tokens are asked for, or the module gives another shape than was said.
        """
        if keep is not None:
            raise InputError("a foreign encoder sees whole images and cannot leave tokens out")
        return self.forward_intermediates(prepared, (-1,))

    def forward_intermediates(self, prepared: Batch, layers: Sequence[int]) -> Features:
        """The one layer that there is.

        Raises:
            InputError: Another layer or a class token is asked for, or the module gives another shape than was said.
        """
        if tuple(layers) != (-1,) or self.readout.pooling == "class":
            raise InputError(
                "a foreign encoder has one layer and no class token",
                found=f"layers {list(layers)}, {self.readout.pooling} pooling",
                expected="layer -1, mean or mean-std pooling",
            )
        image = single_image(self.spec, prepared, 1)
        found = self.module(image.pixels[:, 0])
        if not isinstance(found, Tensor) or found.ndim not in (2, 4) or found.shape[1] != self._width:
            raise InputError(
                "the foreign module gives something else than was said",
                found=tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__,
                expected=f"a tensor (N, {self._width}) or (N, {self._width}, h, w)",
                mend="Return one tensor from its forward, and give its width.",
            )
        maps = found if found.ndim == 4 else found[:, :, None, None]
        features = Features(maps=[maps], strides=[image.size[0] // maps.shape[2]], pooled=found)
        return Features(features.maps, features.strides, self.readout.pool(features))


class _Named:
    """A function whose text form is the same in every process: its name, arguments and the hash of its file."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self._build = build

    def __call__(self) -> nn.Module:
        return self._build()

    def __repr__(self) -> str:
        build, arguments = self._build, ""
        if isinstance(build, partial):
            build, arguments = build.func, f" {build.args} {build.keywords}"
        file = inspect.getsourcefile(build)
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
        return f"{build.__module__}.{build.__qualname__}{arguments} {digest}"


def python_encoder(name: str) -> Encoder:
    """The encoder that a function of an importable module gives. The module is the user's own code and is run.

    Args:
        name: ``python:package.module:function``.

    Raises:
        CheckpointError: There is no such module or function, or it gives something else.
    """
    module, _, function = name.removeprefix(PREFIX).partition(":")
    try:
        made = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{name} names no function that can be imported: {error}",
            expected=f"{PREFIX}package.module:function",
            mend="Install the module, or put its folder into PYTHONPATH.",
        ) from error
    encoder = made()
    if not isinstance(encoder, Encoder):
        raise CheckpointError(
            f"{name} gives no encoder", found=type(encoder).__name__, expected="ecotone.encoders.Foreign, or another"
        )
    return encoder
