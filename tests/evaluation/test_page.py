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
    assert reader.open == [] and reader.addresses == []
    assert not re.search(r"https?://|url\(|@import|<script|<link|<img", html)
    text = " ".join("".join(reader.text).split())
    places = [text.index(p) for p in (report.verdicts[0].text, "Scores", "Scale curve", "Confusion matrix")]
    assert places == sorted(places)
    assert text.index(report.verdicts[0].text) < 300
    assert report.contract.hash in text
    for row in report.rows:
        assert row.encoder in text and f"{100 * row.value:.1f}" in text


def test_names_from_outside_cannot_inject_markup(make_splits, tiny_encoder, tmp_path):
    splits = make_splits()
    for name, data in splits.items():
        info = replace(data.info, name="<b>x</b>", classes=("<script>alert(1)</script>", "b&b", "c"))
        splits[name] = replace(data, info=info)
    html = written(evaluate([tiny_encoder()], splits, scales=(1,), floors=False), tmp_path)
    assert "<script>" not in html and "<b>x</b>" not in html
    assert "&lt;script&gt;" in html


def test_few_samples_give_a_page_without_a_map(make_splits, tiny_encoder, tmp_path):
    html = written(evaluate([tiny_encoder()], make_splits((12, 6, 8)), scales=(1,)), tmp_path)
    assert "Embedding map" not in html and "n too small" in html
