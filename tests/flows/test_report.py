"""The report in a real browser: wide and on a phone, light and dark; anything on the console or on the network is a failure.

Screenshots are kept in `test-output/`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.flows.browser import CHROMIUM, chromium, picture

HOSTILE = (
    '</td></table></script><script>document.title="owned"</script>'
    '<img src="http://192.0.2.1/x.png" onerror="alert(1)"> &amp; {{ 7*7 }}'
)
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def store(built, ingest, corpus_in, say, cli, tmp_path_factory) -> Path:
    """The filled corpus, then a night of hostile messages and a broken one, and an evaluation of each snapshot."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(built[1], folder / "store")
    questions = [
        {"text": "Which colour has the hull of the boat?", "refs": ["boat.md"], "granularity": "document"},
        {"text": "Where do the two hives stand?", "refs": ["garden.md"], "granularity": "document"},
    ]
    labelled = folder / "questions.jsonl"
    labelled.write_text("".join(json.dumps(question) + "\n" for question in questions))
    rows = say("ann", "s9", range(3), day="2026-01-09")
    rows[1]["text"], rows[2]["text"] = HOSTILE, ""
    late = corpus_in(folder / "notes").chat("late.jsonl", rows)
    for step in ("before the night", "after it"):
        ran = cli("evaluate", "jsonl", labelled, "--store", folder / "store", "--json")
        assert ran.code == 0, (step, ran.err)
        if step == "before the night":
            ingest(late, store=folder / "store", day="2026-01-09", expect=3)
    return folder / "store"


@pytest.fixture(scope="module")
def report(store, cli, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "new folder" / "report.html"
    ran = cli("report", "--store", store, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["path"] == str(out) and ran.json["bytes"] == out.stat().st_size
    return out


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_page_is_whole_in_every_size_and_theme_and_asks_no_network(report, size, theme):
    told: list[str] = []
    with chromium() as page:
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda problem: told.append(str(problem)))
        page.on("request", lambda asked: None if asked.url == report.as_uri() else told.append(asked.url))
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size(SIZES[size])
        page.goto(report.as_uri())
        assert page.title().startswith("What the memory holds")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= SIZES[size]["width"], "the page scrolls sideways"
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, paper[4:-1].split(","))) > 384) == (theme == "light")
        assert page.evaluate(CONTRAST) == []
        picture(page, f"report-{size}-{theme}")
    assert told == []


CONTRAST = """
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const bright = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; }
    return [255, 255, 255, 255];
  };
  const poor = new Set();
  for (const e of document.querySelectorAll("body *")) {
    if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const style = getComputedStyle(e);
    const ink = rgb(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [bright(ink), bright(behind(e.closest("svg") ?? e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.add(`${e.tagName} ${e.className.baseVal ?? e.className} ${ratio.toFixed(2)}`);
  }
  return [...poor];
}
"""
"""Texts whose contrast with what is behind them is below WCAG AA."""


@needs_chromium
def test_hostile_text_is_shown_as_it_was_said(report):
    with chromium() as page:
        page.goto(report.as_uri())
        page.get_by_label("Search").fill("192.0.2.1")
        rows = page.locator("#units tbody tr:visible")
        assert rows.count() >= 1
        assert HOSTILE in rows.first.inner_text()
        assert page.title().startswith("What the memory holds")
        assert page.locator("img").count() == 0


@needs_chromium
def test_samples_are_searched_by_words_and_granularity(report):
    with chromium() as page:
        page.goto(report.as_uri())
        rows = page.locator("#units tbody tr:visible")
        first = rows.count()
        assert first == 20 and page.locator("#units tbody tr").count() > 20
        page.get_by_role("button", name="Show more").click()
        assert rows.count() > 20
        page.get_by_label("Granularity").select_option("document")
        assert rows.count() == 2
        page.get_by_label("Search").fill("TWO HIVES")
        assert rows.count() == 1 and "garden.md" in rows.first.inner_text()
        assert page.get_by_role("status").inner_text().startswith("1 of ")
        page.get_by_label("Search").fill("nothing says this")
        assert rows.count() == 0


@needs_chromium
def test_the_keyboard_reaches_theme_and_timeline(report):
    with chromium() as page:
        page.goto(report.as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        button = page.locator(".theme")
        button.focus()
        papers = set()
        for _ in range(3):
            page.keyboard.press("Enter")
            papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(papers) == 2
        chooser = page.locator("#entity")
        before = page.locator("[data-entity]:visible h3").first.inner_text()
        chooser.focus()
        page.keyboard.press("ArrowDown")
        assert page.locator("[data-entity]:visible h3").first.inner_text() != before
        assert page.locator("[data-entity]:visible").count() == 1


def test_what_the_page_says_is_what_the_store_says(report, store, cli):
    text = report.read_text()
    status = cli("status", "--store", store, "--json").json
    assert f"Snapshot {status['snapshot']} of" in text
    for n in status["namespaces"]:
        assert n["namespace"] in text
    for row in status["quarantine"]:
        assert row["reason"].split("'")[0][:40] in text
    assert "recall@10" in text and "2 questions" in text


def test_a_store_without_a_snapshot_has_a_page_and_no_store_is_an_error(cli, tmp_path):
    refused = cli("report", "--store", tmp_path / "none", "--out", tmp_path / "r.html")
    assert refused.code == 1 and "no store at" in refused.err and not (tmp_path / "r.html").exists()
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "store.json").write_text('{"format": 1, "buckets": 4, "created_at": "2026-01-01T00:00:00Z"}')
    ran = cli("report", "--store", tmp_path / "none", "--out", tmp_path / "r.html")
    assert ran.code == 0, ran.err
    assert "Nothing is published yet" in (tmp_path / "r.html").read_text()


def test_a_page_that_cannot_be_written_is_one_line(cli, store, tmp_path):
    (tmp_path / "file").write_text("")
    refused = cli("report", "--store", store, "--out", tmp_path / "file" / "r.html")
    assert refused.code == 2 and "give another file with --out" in refused.err


def test_a_damaged_index_is_part_of_the_report(cli, store, tmp_path):
    shutil.copytree(store, tmp_path / "store")
    for file in tmp_path.glob("store/index/*/*/units.arrow"):
        file.write_bytes(b"")
    ran = cli("report", "--store", tmp_path / "store", "--out", tmp_path / "r.html")
    assert ran.code == 0, ran.err
    text = (tmp_path / "r.html").read_text()
    assert "The index cannot be used: index file units.arrow is damaged" in text and "Units by granularity" in text
