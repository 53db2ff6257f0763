"""Rasters of the several roles of a model, from the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecotone.errors import RecipeError, nearest

if TYPE_CHECKING:
    from ecotone.inputs import InputSpec
    from ecotone.rasters import Raster, Source

WithOption = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="ROLE=PATH", help="Raster of another role of the model, on SOURCE's grid; may be repeated."
    ),
]


def one_source(listed: Sequence[Source], others: Sequence[str] | None, what: str) -> Source:
    """The only scene of a listing.

    Raises:
        RecipeError: There are more.
    """
    if len(listed) == 1:
        return listed[0]
    found = f"{len(listed)} scenes, such as {listed[0]}"
    if others:
        raise RecipeError("--with goes with one scene", found=found, mend="Run the command once for each.")
    raise RecipeError(f"a file holds {what} of one source", found=found, mend="Give --out a folder.")


@contextmanager
def open_roles(
    source: Source, choices: Mapping[str, Any], others: Sequence[str] | None, spec: InputSpec
) -> Iterator[dict[str, Raster]]:
    """The rasters of a scene by role, first that of the scene itself.

    Args:
        source: The scene, in the first role of the model.
        choices: What is declared about it.
        others: ``ROLE=PATH`` each.
        spec: What the model accepts.

    Raises:
        RecipeError: The model has no such role, or it is that of the scene.
    """
    from ecotone.rasters import open_raster

    paths = dict(_parse(text, spec) for text in others or ())
    with ExitStack() as files:
        rasters = {next(iter(spec.roles)): files.enter_context(source.open(**choices))}
        yield rasters | {role: files.enter_context(open_raster(path)) for role, path in paths.items()}


def _parse(text: str, spec: InputSpec) -> tuple[str, str]:
    """Role and path."""
    role, _, path = text.partition("=")
    first, *others = spec.roles
    if role == first:
        raise RecipeError(f"SOURCE is the {first} raster", found=f"--with {text}", expected=", ".join(others) or "none")
    if role not in others or not path:
        mend = nearest(role, others) if others else "It takes one raster."
        raise RecipeError("--with names no role of the model", found=text, expected="ROLE=PATH", mend=mend)
    return role, path
