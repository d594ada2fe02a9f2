"""The explorer in a real browser: asked, followed, compared; nothing on the console, nothing from another host, loopback only.

Screenshots are kept in `test-output/`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.flows.browser import CHROMIUM, chromium, picture

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>document.title='owned'</script><b>bold</b> {{ 7*7 }} the lighthouse keeper"
QUESTION = "Which colour has the hull of the boat?"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def store(built, ingest, corpus_in, say, tmp_path_factory) -> Path:
    """Two snapshots: the boat is repainted between them, and somebody says something hostile."""
    folder = tmp_path_factory.mktemp("explore")
    shutil.copytree(built[1], folder / "store")
    corpus = corpus_in(folder / "notes")
    corpus.boat(colour="Its hull is painted blue.")
    rows = say("ann", "s9", range(2), day="2026-01-09")
    rows[1]["text"] = HOSTILE
    corpus.chat("late.jsonl", rows)
    ingest(corpus.folder, store=folder / "store", day="2026-01-09")
    return folder / "store"


@pytest.fixture(scope="module")
def address(store) -> Iterator[str]:
    command = [sys.executable, "-c", "from flows.command_line import main; main()"]
    command += ["explore", "--store", str(store), "--port", "0", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout
    text = ""
    while not text.rstrip().endswith("}"):
        line = process.stdout.readline()
        assert line, "engraph explore ended before it was up"
        text += line
    yield json.loads(text)["path"]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0


@contextmanager
def clean_page(address: str, size: tuple[int, int] = (1280, 900), theme: str = "light") -> Iterator[Page]:
    """A page whose console stays silent and that asks nobody but the explorer."""
    told: list[str] = []
    with chromium() as page:
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda problem: told.append(str(problem)))
        page.on("request", lambda asked: None if asked.url.startswith(address) else told.append(asked.url))
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": size[0], "height": size[1]})
        yield page
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert told == []


@needs_chromium
def test_a_question_gives_hits_with_sources_and_reasons_and_links_lead_on(address):
    with clean_page(address) as page:
        page.goto(address)
        page.get_by_label("Question").fill("In which town is the honey sold?")
        page.get_by_label("Granularity").select_option("sentence")
        page.get_by_role("button", name="Ask").click()
        first = page.locator(".hit").first
        expect(first).to_contain_text("The honey is sold in Lisbon.")
        assert {"honey", "sold"} <= set(first.locator("mark").all_inner_texts())
        expect(first).to_contain_text("garden.md")
        expect(first).to_contain_text("words of the message or sentence")
        picture(page, "explore-ask")
        first.get_by_role("link", name="Follow its links").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("garden.md#sentence")
        expect(page.get_by_role("heading", name="mentions")).to_be_visible()
        picture(page, "explore-unit")
        page.locator("section.links", has=page.get_by_role("heading", name="mentions")).get_by_role(
            "link"
        ).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Lisbon")
        expect(page.get_by_role("heading", name="What is said about it")).to_be_visible()
        assert page.locator("svg.chart").count() == 1
        picture(page, "explore-entity")
        page.get_by_role("link", name="Ask").first.click()
        expect(page.get_by_label("Question")).to_be_focused()


@needs_chromium
def test_two_snapshots_answer_side_by_side_with_what_changed(address):
    with clean_page(address) as page:
        page.goto(f"{address}/compare")
        page.get_by_label("Question").fill(QUESTION)
        page.get_by_label("Granularity").select_option("sentence")
        page.get_by_role("button", name="Compare").click()
        before, after = page.locator(".side").all()
        expect(before.locator(".hit").first).to_contain_text("painted red")
        expect(after.locator(".hit").first).to_contain_text("painted blue")
        expect(page.get_by_role("status")).to_contain_text("1 say something else, 0 new, 0 gone")
        expect(before.locator(".hit").first).to_contain_text("says something else now")
        expect(after.locator(".hit").first).to_contain_text("new words")
        page.get_by_label("Question").fill("the lighthouse keeper")
        page.get_by_label("Granularity").select_option("turn")
        page.get_by_role("button", name="Compare").click()
        expect(after.locator(".hit").first).to_contain_text("lighthouse")
        told = re.search(r"(\d+) new, (\d+) gone", page.get_by_role("status").inner_text())
        assert told and int(told[1]) >= 1 and told[1] == told[2]
        expect(after.locator(".mark", has_text=re.compile("^new$"))).to_have_count(int(told[1]))
        expect(before.locator(".mark", has_text=re.compile("^gone$"))).to_have_count(int(told[2]))
        picture(page, "explore-compare")


@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hostile_text_is_only_text_on_a_phone_too(address, theme):
    with clean_page(address, (390, 844), theme) as page:
        page.goto(f"{address}/?q=the+lighthouse+keeper&namespace=ann")
        expect(page.locator(".hit").first).to_contain_text(
            "<script>document.title='owned'</script><b>bold</b> {{ 7*7 }}"
        )
        assert "owned" not in page.title()
        picture(page, f"explore-phone-{theme}")
        page.goto(f"{address}/?q=%3Cscript%3Ealert(1)%3C/script%3E&namespace=%22%3E%3Cb%3E")
        expect(page.get_by_role("alert")).to_contain_text("no namespace '\"><b>'")


@needs_chromium
def test_entities_are_found_by_name(address):
    with clean_page(address) as page:
        page.goto(f"{address}/entities?q=lisb")
        page.get_by_role("link", name="Lisbon").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Lisbon")
        page.goto(f"{address}/entities?q=%25")
        expect(page.get_by_text("No entity is called that.")).to_be_visible()


@needs_chromium
def test_the_report_is_there_too(address):
    with clean_page(address) as page:
        page.goto(f"{address}/report")
        expect(page.get_by_role("heading", level=1)).to_have_text("What the memory holds")


def test_what_is_not_there_is_a_page_that_says_so(address):
    for path in ("/unit?id=nobody", "/entity?id=nobody", "/unit?id=boat.md&snapshot=99", "/?q=x&snapshot=99"):
        answer = httpx.get(address + path)
        assert answer.status_code == 404 and "That is not there" in answer.text, path
    assert httpx.get(f"{address}/?q=x&k=many").status_code == 422
    assert "no granularity" in httpx.get(f"{address}/?q=x&granularity=page").text


def test_only_requests_that_name_this_machine_are_answered(address):
    assert httpx.get(address, headers={"Host": "memory.example.com"}).status_code == 400
    assert address.startswith("http://127.0.0.1:")
    headers = httpx.get(address).headers
    assert headers["cache-control"] == "no-store"


def test_a_taken_port_and_a_missing_store_are_one_line(cli, address, store, tmp_path):
    taken = cli("explore", "--store", store, "--port", address.rsplit(":", 1)[1])
    assert taken.code == 1 and "is taken by" in taken.err
    missing = cli("explore", "--store", tmp_path / "none")
    assert missing.code == 1 and "no store at" in missing.err
