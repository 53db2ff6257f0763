"""The demo's five steps. Each leaves its result on disk, so that a stopped demo goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml

from ecotone.data.synthetic import World, write_dataset, write_land_cover, write_preview, write_scene
from ecotone.data.synthetic.cover import CODE
from ecotone.embeddings import open_store, search
from ecotone.evaluation import Report, evaluate
from ecotone.inference import EmbedOptions, embed_raster
from ecotone.inference.pictures import write_hits
from ecotone.rasters import open_raster
from ecotone.training import Recipe, Run, parse_recipe, run_recipe
from ecotone.weights import load_model

SENSOR, GSD, CHIP = "sentinel2-l2a", 10.0, 64
Progress = Callable[[str, int, int], None]  # step, done, in all


@dataclass(frozen=True)
class Size:
    """How much of everything: the demo's own size, or a smaller one for tests."""

    chips: int = 900
    images: int | None = None
    scene: int = 768
    scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)


@dataclass
class Story:
    """What happened, for the page.

    Attributes:
        folder: Where everything lies.
        recipe: What was trained.
        log: The run's log.
        report: Scores beside floors.
        embedding: Summary of the embedded scene.
        agreement: Of the ten nearest neighbours of each chip of the scene, the mean share with its land cover, and
            the same for chips drawn at random.
        seconds: Step -> wall-clock time.
    """

    folder: Path
    recipe: Recipe | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    report: Report | None = None
    embedding: dict[str, Any] = field(default_factory=dict)
    agreement: tuple[float, float] = (0.0, 0.0)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.folder / "scale-mae"

    @property
    def scene(self) -> Path:
        return self.folder / "scene" / "scene.tif"


def run_demo(folder: str | Path, size: Size | None = None, on_progress: Progress | None = None) -> Story:
    """Make a synthetic Earth, pretrain Scale-MAE on it, evaluate, embed a scene, search it.

    Args:
        folder: Where to put everything; what an earlier, stopped demo left there is used.
        size: How much of everything.
        on_progress: Told the step, what is done and what there is to do.
    """
    story, size = Story(Path(folder)), size or Size()
    tell = on_progress or (lambda step, done, total: None)
    for name, step in (
        ("synthetic Earth", _make_world),
        ("pretraining", _pretrain),
        ("evaluation", _evaluate),
        ("embedding", _embed),
        ("search", _search),
    ):
        started = time.monotonic()
        step(story, size, lambda done, total, name=name: tell(name, done, total))
        story.seconds[name] = time.monotonic() - started
    return story


Tell = Callable[[int, int], None]


def _make_world(story: Story, size: Size, tell: Tell) -> None:
    chips = story.folder / "chips"
    if not (chips / "manifest.csv").exists():
        write_dataset(chips, n=size.chips, size=CHIP, gsd=GSD, sensor_name=SENSOR, progress=tell)
    if not story.scene.exists():
        world = World(1)  # another Earth than the chips': nothing of the scene was seen in training
        story.scene.parent.mkdir(parents=True, exist_ok=True)
        scene = world.scene(world.varied_place(size.scene * GSD), size.scene, gsd=GSD, sensor=SENSOR)
        write_land_cover(scene, story.scene.with_name("land-cover.tif"))
        write_preview(scene, story.scene.with_name("scene.png"))
        write_scene(scene, story.scene)


def _pretrain(story: Story, size: Size, tell: Tell) -> None:
    text = (resources.files("ecotone.demo") / "recipe.yaml").read_text("utf-8")
    raw = yaml.safe_load(text.replace("{chips}", str(story.folder / "chips")))
    if size.images is not None:
        raw["stage"] |= {"images": size.images, "warmup_images": size.images // 20}
        raw["monitor"]["every_images"] = max(1, size.images // 4)
    story.recipe = parse_recipe(raw, "the demo's recipe")
    total = story.recipe.stage.images
    run_recipe(story.recipe, story.run, lambda row: tell(row["images"], total))
    story.log = Run(story.run).rows()


def _evaluate(story: Story, size: Size, tell: Tell) -> None:
    story.report = evaluate(
        [story.run],
        story.folder / "chips",
        scales=size.scales,
        out=story.folder / "evaluation",
        on_progress=lambda what, done, total: tell(done, total),
    )
    story.report.save_html(story.folder / "evaluation.html")
    story.report.save_json(story.folder / "evaluation.json")


def _embed(story: Story, size: Size, tell: Tell) -> None:
    options = EmbedOptions(chip=32)
    with open_raster(story.scene) as raster:
        summary = embed_raster(
            load_model(story.run), raster, out=story.folder / "embedding.parquet", options=options, on_progress=tell
        )
    story.embedding = summary.as_json()


def _search(story: Story, size: Size, tell: Tell) -> None:
    store = open_store(story.folder / "embedding.parquet")
    with rasterio.open(story.scene.with_name("land-cover.tif")) as source:
        cover = source.read(1)
    main, share = _main_cover(cover, store.rows(np.arange(len(store.vectors))), 32)
    story.agreement = _agreement(np.asarray(store.vectors) - store.mean, main)
    # A town makes the telling query; a scene without one gives its purest chip.
    chosen = int(np.argmax(share + (main == CODE["residential"])))
    centre = store.geometries([chosen])[0].centroid
    point = (centre.x, centre.y)
    found = search(store, point=point, k=8)
    write_hits(story.folder / "hits.png", store, found, [chosen])
    tell(1, 1)


def _main_cover(cover: np.ndarray, rows: list[dict[str, Any]], side: int) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent class of each chip, and its share."""
    main, share = [], []
    for row in rows:
        counts = np.bincount(cover[row["row"] : row["row"] + side, row["col"] : row["col"] + side].ravel())
        main.append(counts.argmax())
        share.append(counts.max() / counts.sum())
    return np.array(main), np.array(share)


def _agreement(vectors: np.ndarray, main: np.ndarray, k: int = 10) -> tuple[float, float]:
    """Mean share of the k nearest chips with the same main class, and the share among all other chips."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1)[:, :k]
    same = main[nearest] == main[:, None]
    counts = np.bincount(main)
    chance = ((counts[main] - 1) / (len(main) - 1)).mean()
    return float(same.mean()), float(chance)
