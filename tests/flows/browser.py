"""A headless Chromium and the Prefect pages that tests walk through, as a person would: by labels, fields and buttons."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Locator, Page, TimeoutError, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OUTPUT = Path(__file__).resolve().parents[2] / "test-output"
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-quic",
)  # fmt: skip
PATIENCE_MS = 60_000
CREATED = re.compile(r"/create_flow_run$")


@contextmanager
def chromium() -> Iterator[Page]:
    """A page of a browser of its own; nothing of it leaves this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1400, "height": 1100}, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE_MS)
        try:
            yield page
        finally:
            browser.close()


def picture(page: Page, name: str) -> Path:
    """Keep a screenshot of the whole page as test output."""
    OUTPUT.mkdir(exist_ok=True)
    page.wait_for_load_state("networkidle")
    file = OUTPUT / f"{name}.png"
    page.screenshot(path=file, full_page=True)
    return file


class RunForm:
    """The page "Custom run" of a deployment."""

    def __init__(self, page: Page, ui: str, deployment_id: str) -> None:
        self.page = page
        page.goto(f"{ui}/deployments/deployment/{deployment_id}/run")
        page.get_by_text("From Day").wait_for()

    def _field(self, label: str) -> Locator:
        """The block of the form that carries a label."""
        words = f"//span[contains(@class,'schema-form-property__label') and starts-with(normalize-space(.),'{label}')]"
        block = "/ancestor::*[contains(concat(' ',@class,' '),' schema-form-property ')][1]"
        return self.page.locator(f"xpath={words}{block}")

    def date(self, label: str, day: str) -> None:
        """Choose "date" and fill the calendar's own field."""
        field = self._field(label)
        field.get_by_text("date", exact=True).click()
        field.locator(".p-date-button__control").click()
        calendar = self.page.locator(".p-date-picker")
        calendar.locator("input[type=date]").fill(day)
        calendar.get_by_text("Apply").click()
        expect(calendar).to_have_count(0)

    def select(self, label: str, value: str) -> None:
        """Choose from a drop-down list, by the keyboard."""
        control = self._field(label).locator(".p-select-button__control")
        control.scroll_into_view_if_needed()
        control.press("ArrowDown")
        self.page.locator(".p-select__options").get_by_text(value, exact=True).click()
        expect(control).to_have_text(value)

    def submit(self) -> None:
        """Press the button, and again if the page does nothing; that of the deployment or of the run follows."""
        for _ in range(2):
            with suppress(TimeoutError):
                with self.page.expect_response(CREATED, timeout=PATIENCE_MS / 2) as answer:
                    self.page.get_by_role("button", name="Submit").click()
                if answer.value.ok:
                    break
        self.page.wait_for_url(re.compile(r"(?<!/run)$"))


def artifact_page(page: Page, ui: str, artifact_id: str) -> None:
    """Open an artifact."""
    page.goto(f"{ui}/artifacts/artifact/{artifact_id}")
    page.wait_for_load_state("networkidle")
