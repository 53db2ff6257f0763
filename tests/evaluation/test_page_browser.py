"""The page in real headless Chromium, without a network: nothing is asked for, nothing sticks out, axe is content."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from ecotone.evaluation import evaluate, merge

CHROMIUM = os.environ.get("ECOTONE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium; install it or name it in ECOTONE_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, which a package for Playwright carries."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("no axe-core; install axe-playwright-python")
    return (Path(found.origin).parent / "axe.min.js").read_text("utf-8")


AUDITS = ("duplicates", "normalisers", "heads", "labels")


@pytest.fixture(params=["classification", "multilabel", "regression", "merged", "mixed"])
def page(request, make_splits, lamps, tiny_encoder, tmp_path) -> Path:
    """A page with every section that its task has; of one evaluation, of folders of results, of two contracts."""
    if request.param == "classification":
        rivals, splits = [tiny_encoder(), tiny_encoder(patch=8)], make_splits(split_kind="random")
        report = evaluate(rivals, splits, scales=(1, 0.5), seeds=2, compare=True, audits=AUDITS, protocols=["knn"])
    elif request.param in ("multilabel", "regression"):
        report = evaluate([tiny_encoder()], lamps(request.param, counts=(40, 20, 30)), scales=(1, 0.5))
    else:
        data, folders = lamps("multilabel", counts=(30, 20, 24)), [tmp_path / "a", tmp_path / "b"]
        for seed, folder in enumerate(folders):
            other = {"scale_protocol": "native"} if seed and request.param == "mixed" else {}
            encoder = tiny_encoder(patch=8, seed=seed)
            evaluate([encoder], data, scales=(1, 0.5), protocols=["knn"], seeds=2, audits=(), out=folder, **other)
        report = merge(folders, mixed=True)
    report.save_html(tmp_path / "page.html")
    return tmp_path / "page.html"


def test_the_page_stands_alone_fits_a_telephone_and_axe_finds_no_serious_fault(browser, axe, page):
    for width, scheme in ((1280, "light"), (390, "dark")):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        tab = context.new_page()
        asked, said = [], []
        tab.on("request", lambda r, asked=asked: asked.append(r.url))
        tab.on("console", lambda m, said=said: said.append(m.text))
        tab.goto(page.as_uri())
        assert [u for u in asked if not u.startswith("data:")] == [page.as_uri()] and said == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth === 96)")
        tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        tab.evaluate(axe)
        faults = tab.evaluate("axe.run()")["violations"]
        bad = [(f["id"], f["nodes"][0]["html"]) for f in faults if f["impact"] in ("serious", "critical")]
        assert bad == [], f"{width} px, {scheme}"
        context.close()
