"""The page is drawn from plain values: whatever they are, it is one document that runs and fetches nothing of theirs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pipelines.report import Contents, Node, draw, render
from pipelines.report.contents import (
    AnnFigures,
    Cell,
    Day,
    Fact,
    Granularity,
    IndexFigures,
    Measured,
    Namespace,
    Refused,
    RunCost,
    Sample,
    Speed,
    StageCost,
    Timeline,
    Vectors,
    Version,
)
from schemas.manifest import Gate

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & {{ 7 * 7 }} {% raw %} ‮\x00 ]]> <!--"
VOID = {"meta", "br", "input", "img", "hr", "link"}


class Page(HTMLParser):
    """Start tags with their attributes, and tags that were not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    def count(self, name: str) -> int:
        return sum(tag == name for tag, _ in self.tags)


def full(word: str, namespaces: int = 3) -> Contents:
    """A report with something in every part; every text of it is `word`."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nodes = [Node(word, word, word, 9 - i % 5) for i in range(12)]
    pairs = np.array([(a, b) for a in range(12) for b in range(a + 1, 12) if a // 4 == b // 4 or (a, b) == (0, 11)])
    speeds = [Speed(word, 0.9, 900.0), Speed(word, 1, 90.0)]
    figures = AnnFigures(word, 40, word, [3, 4, 9], 10, 20, speeds)
    facts = [Fact(NOW, word, word, word, word)]
    version = Version(2, NOW, {"memory_units": 40, "turns": 20, "triples": 3}, 1, word)
    return Contents(
        store=word,
        made_at=NOW,
        snapshot=version,
        encoder=word,
        bytes=12_345,
        n_units=40,
        granularities=[Granularity(word, 40, 7)],
        namespaces=[Namespace(word, 4, 2, 1, NOW, NOW) for _ in range(min(namespaces, 40))],
        n_namespaces=namespaces,
        arrivals=[(NOW.date(), 30), (NOW.date() + dt.timedelta(days=1), 10)],
        stages=["read", "embed"],
        days=[Day(NOW.date(), {"read": Cell("failed", 0), "embed": Cell("stale", 7)}, [word])],
        versions=[Version(1, NOW, {}, 0, ""), version],
        evaluations=[
            Measured(n, word, category, f"{word}@{k}", 0.5, 0.4, 0.6, 10, NOW)
            for n in (1, 2) for k in (1, 5) for category in ("all", word)
        ],
        index=IndexFigures(1, 40, {word: 99}, [figures], 2, []),
        communities=draw(nodes, pairs, np.full(len(pairs), 3.0), [word]),
        vectors=Vectors([f"{word} {i % 3}" for i in range(40)], [word] * 40, vectors, 40),
        timelines=[Timeline(word, word, word, word, 9, [(NOW.date(), 4), (NOW.date(), 5)], "month", facts)],
        gates=[Gate(name=word, passed=False, detail=word)],
        refused=[Refused(word, word, 3, word)],
        n_refused=3,
        stage_costs=[StageCost(word, 1, 4000.0, 5, 6, 7, 0.1)],
        run_costs=[RunCost(word, NOW, 3, 1, 70.0, 0.1)],
        usd_per_cpu_hour=0.04,
        samples=[Sample(word, word, word, word, [word], NOW)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> str:
    return render(full("garden"))


@pytest.fixture(scope="module")
def hostile() -> str:
    return render(full(HOSTILE))


def test_a_page_of_hostile_texts_has_the_same_elements_as_a_page_of_harmless_ones(plain, hostile):
    tame, wild = Page(plain), Page(hostile)
    assert wild.wrong == [] and wild.open == [] and tame.wrong == []
    assert [tag for tag, _ in wild.tags if tag != "tspan"] == [tag for tag, _ in tame.tags if tag != "tspan"]
    assert wild.count("script") == 1 and wild.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in wild.tags for name in attributes)
    assert "49" not in re.findall(r"\{\{.*?\}\}", hostile) and "{{ 7 * 7 }}" in "".join(wild.text)


def test_nothing_in_the_page_points_outside(plain):
    addresses = [v for _, attributes in Page(plain).tags for n, v in attributes.items() if n in ("src", "href", "data")]
    assert addresses and all(a.startswith("#") for a in addresses)
    assert "http://" not in plain and "https://" not in plain and "@import" not in plain and "url(" not in plain
    [policy] = [a["content"] for tag, a in Page(plain).tags if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy


def test_equal_contents_give_equal_bytes(plain):
    assert render(full("garden")) == plain


def test_every_picture_has_a_text_alternative_and_every_chart_a_table(plain):
    page = Page(plain)
    pictures = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert len(pictures) >= 8
    assert all(p["role"] == "img" and len(p["aria-label"]) > 10 for p in pictures)
    assert plain.count("The numbers as a table") >= 5 and "The communities as a table" in plain


def test_every_link_of_the_bar_leads_to_a_section(plain):
    page = Page(plain)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    assert len(links) >= 10 and set(links) <= ids


def test_a_store_without_a_snapshot_still_gives_a_page():
    page = render(Contents(store="/store", made_at=NOW))
    assert "Nothing is published yet" in page and Page(page).wrong == []


@pytest.mark.parametrize("part", ["communities", "vectors", "index", "snapshot"])
def test_a_part_that_is_lacking_leaves_the_others(part):
    page = render(dataclasses.replace(full("garden"), **{part: None}))
    assert Page(page).wrong == [] and "What it cost" in page


@pytest.mark.parametrize(
    "part", ["evaluations", "timelines", "gates", "refused", "stage_costs", "samples", "days", "granularities"]
)
def test_a_part_without_rows_leaves_the_others(part):
    page = render(dataclasses.replace(full("garden"), **{part: []}))
    assert Page(page).wrong == [] and "A map of meaning" in page


def test_a_thousand_namespaces_are_told_by_their_number_and_the_largest():
    page = render(full("garden", namespaces=1000))
    assert "The 40 largest of 1,000" in page


def test_an_ablation_stands_apart_from_the_kinds_of_questions():
    def row(category: str, value: float) -> Measured:
        return Measured(1, "set", category, "recall@10", value, value - 0.1, value + 0.1, 10, NOW)

    measured = [row("all", 0.7), row("temporal", 0.6), row("only lexical:leaf", 0.5), row("ablation:graph", 0.4)]
    page = render(dataclasses.replace(full("garden"), evaluations=measured))
    kinds, _, ablation = page.partition("By kind of question")[2].partition("Ablation: what each channel brings")
    assert "temporal" in kinds and "lexical" not in kinds
    told = re.findall(r'<th scope="row">([^<]+)</th>', ablation.partition("</table>")[0])
    assert told == ["all channels", "only lexical:leaf", "graph"]


def test_the_newest_measurement_of_a_snapshot_counts():
    def row(value: float, minutes: int) -> Measured:
        at = NOW + dt.timedelta(minutes=minutes)
        return Measured(4, "set", "all", "recall@10", value, value, value, 10, at)

    page = render(dataclasses.replace(full("garden"), evaluations=[row(0.75, 5), row(0.25, 1)]))
    tile = page.partition("recall@10 on set")[2][:40]
    assert "0.750" in tile


def test_variants_and_baselines_are_told_by_their_ranking_and_never_taken_for_recall():
    def row(ranking: str, value: float, category: str = "all", metric: str = "recall@10") -> Measured:
        return Measured(1, "set", category, metric, value, value - 0.1, value + 0.1, 10, NOW, ranking)

    measured = [
        row("recall", 0.7), row("recall", 0.68, "folds"), row("recall", 0.6, "temporal"), row("recall", 0.9, metric="auroc"),
        row("without graph", 0.65), row("without graph", 0.1, "temporal"), row("bm25", 0.4),
    ]  # fmt: skip
    page = render(dataclasses.replace(full("garden"), evaluations=measured))
    assert "0.700" in page.partition("recall@10 on set")[2][:40]
    tables = page.partition("By kind of question")[2]
    kinds, _, rest = tables.partition("Ablation: what each channel brings")
    ablation, _, baselines = rest.partition("Beside baselines")
    names = [
        re.findall(r'<th scope="row">([^<]+)</th>', part.partition("</table>")[0])
        for part in (kinds, ablation, baselines)
    ]
    assert names == [["temporal"], ["all channels", "without graph"], ["recall", "bm25"]]
    assert "over 10 parts of the set 0.680 ± 0.100" in page and "auroc" in page.partition("Also measured")[2]


def test_confidence_is_drawn_beside_what_it_promised():
    def row(metric: str, value: float, n: int = 9) -> Measured:
        return Measured(1, "set", "all", metric, value, value, value, n, NOW)

    measured = [row("recall@10", 0.7)]
    for middle, confidence, answerable, n in (
        (0.25, 0.22, 0.1, 9),
        (0.55, 0.54, 0.5, 9),
        (0.95, 0.9, 0.97, 0),
        (0.75, 0.8, 0.9, 9),
    ):
        measured += [row(f"confidence@{middle:.2f}", confidence, n), row(f"reliability@{middle:.2f}", answerable, n)]
    chart = render(dataclasses.replace(full("garden"), evaluations=measured)).partition("Confidence and truth")[2]
    told = re.findall(r"answerable, confidence ([\d.]+): ([\d.]+)", chart)
    assert told == [("0.22", "0.100"), ("0.54", "0.500"), ("0.80", "0.900")]
