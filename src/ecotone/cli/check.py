"""``ecotone check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    target: Annotated[Path, typer.Argument(help="Recipe (YAML), or a model or run folder.")],
    raster: Annotated[Path | None, typer.Argument(help="Raster to hold against the model.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key.")] = None,
    schema_only: Annotated[
        bool, typer.Option("--schema-only", help="Without its data: options and parameters.")
    ] = False,
    sensor: Annotated[str | None, typer.Option(help="Sensor of the raster, where it does not say.")] = None,
    json_: JsonOption = None,
) -> None:
    """Dry-run a recipe, or hold a raster against a model, without writing anything.

    Example: ecotone check recipes/eurosat-laptop.yaml

    Example: ecotone check --schema-only recipes/scale-mae-fmow.yaml

    Example: ecotone check runs/s2 scene.tif --sensor sentinel2-l2a
    """
    found = _check_model(target, raster, sensor) if target.is_dir() else _check_recipe(target, set_, schema_only)
    for name, value in found.items():
        console.print(f"{name}: {value}", highlight=False)
    write_json(json_, found)


def _check_recipe(path: Path, overrides: list[str] | None, schema_only: bool) -> dict:
    from ecotone.training import blueprint, dry_run, load_recipe

    recipe = load_recipe(path, overrides)
    look = blueprint if schema_only else dry_run
    stages = {stage.name: look(stage) for stage in recipe.stages}
    return {"recipe": recipe.name, **({"stages": stages} if stages else look(recipe)), "valid": True}


def _check_model(folder: Path, raster: Path | None, sensor: str | None) -> dict:
    from ecotone.rasters import open_raster
    from ecotone.samples import Sample, collate
    from ecotone.weights import load_model

    model = load_model(folder)
    found = {"model": model.name, "hash": model.hash, "bands": list(model.encoder.spec.optical.bands), "valid": True}
    if raster is not None:
        with open_raster(raster, sensor=sensor) as opened:
            size = model.card.encoder.image_size
            window = opened.read((0, 0, size, size))
        role = next(iter(model.encoder.spec.roles))
        model.encoder.spec.prepare(collate([Sample({role: window}, str(raster))]))
        found |= {
            "raster": str(raster),
            "raster_bands": list(opened.bands),
            "gsd": opened.gsd,
            "unit": str(opened.unit),
        }
    return found
