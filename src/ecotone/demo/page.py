"""The demo's page: one self-contained HTML file that tells the story in pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image as PillowImage

from ecotone.data.synthetic import CLASSES, COLOURS
from ecotone.demo.story import Story
from ecotone.files import replacing


def write_page(story: Story) -> Path:
    """Write ``report.html`` into the story's folder; pictures are inside it."""
    environment = Environment(
        loader=PackageLoader("ecotone.demo", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    assert story.report is not None and story.recipe is not None  # a finished story has both
    reconstructions = sorted((story.run / "pictures").glob("*.png"))
    html = environment.get_template("page.html.jinja").render(
        story=story,
        report=story.report,
        recipe=story.recipe,
        means=sorted(story.report.means, key=lambda m: (m.protocol, m.floor, -m.value)),
        legend=[(name, "#{:02x}{:02x}{:02x}".format(*COLOURS[name][:3])) for name in CLASSES],
        pictures={
            "scene": _inline(story.scene.with_name("scene.png")),
            "cover": _inline_cover(story.scene.with_name("land-cover.tif")),
            "first": _inline(reconstructions[0]),
            "last": _inline(reconstructions[-1]),
            "losses": _losses(story),
            "pca": _inline(Path(story.embedding["files"]["pca_png"])),
            "hits": _inline(story.folder / "hits.png"),
        },
        minutes=sum(story.seconds.values()) / 60,
    )
    file = story.folder / "report.html"
    with replacing(file) as temporary:
        temporary.write_text(html, "utf-8")
    return file


def _losses(story: Story) -> str:
    """The losses over images seen, as an inline SVG."""
    steps = [r for r in story.log if "loss/total" in r]
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    for name, colour in (("low", "#0d7f68"), ("high", "#b4541a")):
        values = [r[f"loss/{name}"] for r in steps]
        smooth = [sum(values[max(0, i - 20) : i + 1]) / len(values[max(0, i - 20) : i + 1]) for i in range(len(values))]
        axes.plot([r["images"] for r in steps], smooth, label=f"{name} frequencies", color=colour)
    axes.set_xlabel("images seen")
    axes.set_ylabel("loss")
    axes.set_yscale("log")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return _data_uri(buffer.getvalue(), "image/svg+xml")


def _inline(picture: Path) -> str:
    """A PNG as a data URI; large ones as JPEG, which is many times smaller for imagery."""
    with PillowImage.open(picture) as image:
        if image.size[0] * image.size[1] < 300_000:
            return _data_uri(picture.read_bytes(), "image/png")
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=88)
    return _data_uri(buffer.getvalue(), "image/jpeg")


def _inline_cover(raster: Path) -> str:
    with PillowImage.open(raster) as image:
        buffer = io.BytesIO()
        image.convert("RGB").convert("P", palette=PillowImage.Palette.ADAPTIVE, colors=32).save(buffer, "PNG")
    return _data_uri(buffer.getvalue(), "image/png")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
