from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from ecotone.evaluation import evaluate


class Reader(HTMLParser):
    """Collects text, addresses and whether every element is closed in order."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.text, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text.append(data)


def written(report, folder) -> str:
    report.save_html(folder / "report.html")
    assert [p.name for p in folder.iterdir()] == ["report.html"]
    return (folder / "report.html").read_text("utf-8")


def test_the_page_is_whole_self_contained_and_leads_with_the_verdict(make_splits, tiny_encoder, tmp_path):
    report = evaluate([tiny_encoder()], make_splits(), scales=(1, 0.5))
    html = written(report, tmp_path)
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    inside = [a for a in reader.addresses if a.startswith("#")]
    pictures = [a for a in reader.addresses if a.startswith("data:image/jpeg;base64,")]
    assert len(inside) + len(pictures) == len(reader.addresses) and all(f'id="{a[1:]}"' in html for a in inside)
    assert len(pictures) == len(report.details.mistakes) > 0
    assert not re.search(r"https?://|url\(|@import|<script|<link", html)
    text = " ".join("".join(reader.text).split())
    headings = ("Scores", "Scale curve", "Differences to the floors", "Confusion matrix", "Worst errors", "Contract")
    places = [html.index(f">{title}</h2>") for title in headings]
    assert places == sorted(places)
    assert text.index(report.verdicts[0].text) < 450
    assert report.contract.hash in text
    for row in report.rows:
        assert row.encoder in text and f"{100 * row.value:.1f}" in text


def test_names_from_outside_cannot_inject_markup(make_splits, tiny_encoder, tmp_path):
    splits = make_splits()
    for name, data in splits.items():
        info = replace(data.info, name="<b>x</b>", classes=("<script>alert(1)</script>", "b&b", "c"))
        splits[name] = replace(data, info=info)
    html = written(evaluate([tiny_encoder()], splits, scales=(1,)), tmp_path)
    assert "<script>" not in html and "<b>x</b>" not in html
    assert "&lt;script&gt;" in html


def test_a_page_without_floors_says_so_in_red(make_splits, tiny_encoder, tmp_path):
    html = written(evaluate([tiny_encoder()], make_splits(), scales=(1,), floors=False), tmp_path)
    assert '<p class="card missing"' in html and "The floors are missing." in html
    assert "The floors are missing." not in written(evaluate([tiny_encoder()], make_splits(), scales=(1,)), tmp_path)


def test_the_contract_can_be_read_line_by_line(make_splits, tiny_encoder, tmp_path):
    report = evaluate([tiny_encoder()], make_splits(), scales=(1,), protocols=["knn"])
    text = " ".join(re.sub("<[^>]+>", " ", written(report, tmp_path)).split())
    assert f"manifest {report.contract.data.manifest} split {report.contract.data.split}" in text
    assert "scale protocol test-resized scales 1 gsds" in text and "down area up bilinear" in text
    assert "knn k 20 temperature 0.07" in text and "label unit not set" in text and "pooling mean" in text


def test_few_samples_give_a_page_without_a_map(make_splits, tiny_encoder, tmp_path):
    html = written(evaluate([tiny_encoder()], make_splits((12, 6, 8)), scales=(1,)), tmp_path)
    assert "Embedding map" not in html and "n too small" in html
