"""``ecotone data synth``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from ecotone.cli.output import JsonOption, console, write_json
from ecotone.errors import RecipeError

if TYPE_CHECKING:
    from ecotone.data.synthetic import Event, SyntheticScene

_DATE = "%Y-%m-%d"


class Kind(StrEnum):
    """What to make."""

    scene = "scene"
    pair = "pair"
    dataset = "dataset"
    mmearth = "mmearth"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("synth")(synth)


def synth(
    out: Annotated[Path, typer.Option(help="A new folder.")],
    kind: Annotated[
        Kind,
        typer.Option(help="One scene, a pair with changes between two dates, labelled chips, or tiles like MMEarth."),
    ] = Kind.scene,
    sensor: Annotated[str, typer.Option(help="rgb, sentinel1-grd, dem or any reflectance sensor.")] = "rgb",
    gsd: Annotated[float, typer.Option(help="Metres per pixel.")] = 10.0,
    size: Annotated[int | None, typer.Option(help="Pixels per side; 512, or 64 for chips and tiles.")] = None,
    count: Annotated[int, typer.Option(help="Number of chips or tiles.")] = 2000,
    seed: Annotated[int, typer.Option(help="Every seed is another Earth.")] = 0,
    day: Annotated[datetime | None, typer.Option("--date", formats=[_DATE], help="Date; it sets the season.")] = None,
    end: Annotated[datetime | None, typer.Option("--end-date", formats=[_DATE], help="Second date of a pair.")] = None,
    events: Annotated[str, typer.Option(help="Changes of a pair, joined by commas.")] = "clearing,flood,building",
    json_: JsonOption = None,
) -> None:
    """Make synthetic imagery with known land cover: nothing is downloaded, and nothing in it is real.

    Example: ecotone data synth --out demo-chips --kind dataset --count 500

    Example: ecotone data synth --out flood --kind pair --sensor sentinel2-l2a --events flood --seed 3

    Example: ecotone data synth --out data_synthetic_64 --kind mmearth --count 2000
    """
    first = day.date() if day else None
    if kind == Kind.mmearth:
        if gsd != 10.0 or first:
            raise RecipeError("tiles like MMEarth have 10 m pixels and dates of their own", mend="Leave both out.")
        found = _mmearth(out, count, size or 64, seed)
    elif kind == Kind.dataset:
        found = _dataset(out, count, size or 64, gsd, sensor, seed, first)
    else:
        first = first or date(2021, 6, 20)
        second = (end.date() if end else first + timedelta(days=365)) if kind == Kind.pair else None
        found = _scenes(out, size or 512, gsd, sensor, seed, first, second, [e for e in events.split(",") if e])
    console.print(f"Wrote {out}. This imagery is synthetic: procedurally generated, not an image of the Earth.")
    write_json(json_, {"synthetic": True, "kind": kind.value, "folder": str(out), "seed": seed} | found)


def _dataset(out: Path, count: int, size: int, gsd: float, sensor: str, seed: int, day: date | None) -> dict[str, Any]:
    from ecotone.data.synthetic import write_dataset

    with _bar() as bar:
        step = _steps(bar, f"drawing {count} chips")
        write_dataset(out, n=count, size=size, gsd=gsd, sensor_name=sensor, seed=seed, day=day, progress=step)
    return {"chips": count, "size": size, "gsd": gsd, "sensor": sensor}


def _mmearth(out: Path, count: int, size: int, seed: int) -> dict[str, Any]:
    from ecotone.data.synthetic import write_mmearth

    with _bar() as bar:
        step = _steps(bar, f"drawing {count} tiles")
        write_mmearth(out, n=count, size=size, seed=seed, progress=step)
    return {"tiles": count, "size": size, "gsd": 10.0, "files": sorted(p.name for p in out.iterdir())}


def _scenes(
    out: Path, size: int, gsd: float, sensor: str, seed: int, first: date, second: date | None, kinds: list[str]
) -> dict[str, Any]:
    """Draw one scene, or two with the events between them."""
    from ecotone.data.synthetic import World
    from ecotone.files import new_folder

    world = World(seed)
    with new_folder(out) as folder, _bar() as bar:
        origin = world.varied_place(size * gsd)
        happened: tuple[Event, ...] = ()
        if second is not None:
            happened = world.events(origin, size, gsd=gsd, kinds=kinds, start=first, end=second)
        days = {"": first} if second is None else {"_t0": first, "_t1": second}
        for suffix, day in days.items():
            step = _steps(bar, f"drawing {day}")
            scene = world.scene(origin, size, gsd=gsd, sensor=sensor, day=day, events=happened, progress=step)
            _write(scene, folder, suffix, with_change=suffix == "_t1")
        if second is not None and not scene.change.any():
            raise RecipeError(
                f"no {' or '.join(kinds)} happens in this window of {size * gsd:g} m",
                mend="Choose another --seed, more --events or a larger --size.",
            )
    return {
        "files": sorted(p.name for p in out.iterdir()),
        "bounds": scene.place.bounds,
        "crs": scene.crs,
        "dates": [d.isoformat() for d in days.values()],
        "events": [{"kind": e.kind, "x": e.x, "y": e.y, "start": e.start.isoformat()} for e in happened],
        "changed_pixels": int((scene.change > 0).sum()),
    }


def _write(scene: SyntheticScene, folder: Path, suffix: str, *, with_change: bool) -> None:
    from ecotone.data.synthetic import write_change, write_land_cover, write_preview, write_scene

    write_scene(scene, folder / f"image{suffix}.tif")
    write_land_cover(scene, folder / f"land_cover{suffix}.tif")
    write_preview(scene, folder / f"preview{suffix}.png")
    if with_change:
        write_change(scene, folder / "change.tif")


def _bar() -> Progress:
    return Progress(console=console, transient=True)


def _steps(bar: Progress, title: str) -> Callable[[int, int], None]:
    task = bar.add_task(title, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)
