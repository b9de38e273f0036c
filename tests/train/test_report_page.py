"""The page of a run, opened in a browser: every section, nothing from elsewhere, and texts that stay texts.

The browser is Debian's Chromium. Where it is missing these tests are skipped by name; with STRIATE_REQUIRE_BROWSER=1,
as in CI, they fail instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from striate.errors import DataError
from striate.train import evaluate, report_run, write_report
from striate.train.page import REPORT

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = Path("/usr/bin/chromium")
SECTIONS = {
    "summary": "Summary",
    "curves": "Learning curves",
    "results": "",
    "mistakes": "Worst mistakes",
    "calibration": "Calibration",
    "data": "Data sheet",
    "configuration": "Configuration",
    "cost": "Cost",
    "environment": "Environment",
    "files": "Files",
}
KINDS = ("image", "signal", "volume", "text", "multi-label", "regression", "segmentation", "volumes", "verification")
PICTURES = {
    "multi-label": ["curves", "recall", "roc", "precision", "samples"],
    "regression": ["curves", "predicted", "samples"],
    "segmentation": ["curves", "matrix", "dice", "prediction"],
    "volumes": ["curves", "matrix", "dice", "prediction"],
    "verification": ["curves", "rates", "pairs"],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        told = f"no browser: {CHROMIUM} is missing (apt-get install chromium)"
        if os.environ.get("STRIATE_REQUIRE_BROWSER"):
            pytest.fail(told)
        pytest.skip(told)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox needs rights that containers do not give; the page is our own.
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


class Opened:
    """A page in the browser, and what it said and asked for."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.page = browser.new_page(**settings)
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_load_state("networkidle")

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_is_there_and_nothing_comes_from_elsewhere(kind: str, trained: Any, browser: Any) -> None:
    run, dataset = trained(kind)
    path = report_run(run, dataset)
    assert path == run.folder / REPORT
    opened = Opened(browser, path, viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert opened.said == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [path.resolve().as_uri()]

    found = dict(
        opened.evaluate(
            "[...document.querySelectorAll('main > section')].map(s => [s.id, s.querySelector('h2').innerText])"
        )
    )
    assert list(found) == list(SECTIONS)
    assert all(found[name] == title for name, title in SECTIONS.items() if title)
    assert all(opened.evaluate("[...document.querySelectorAll('main > section')].map(s => s.innerText.length > 20)"))

    words = opened.evaluate("[...document.images].map(i => i.alt)")
    assert all(opened.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 50)"))
    wanted = PICTURES.get(kind, ["accuracy over", "matrix", "recall", "ROC", "precision", "reliability", "mistakes"])
    for name in wanted:
        wanted_word = {"curves": "over 2 epochs", "samples": "samples"}.get(name, name)
        assert any(wanted_word.lower() in each.lower() for each in words), (name, words)

    # Tables for those who hear them, and a page that fits a phone.
    assert opened.evaluate("[...document.querySelectorAll('th')].every(h => ['row', 'col'].includes(h.scope))")
    assert opened.evaluate("[...document.querySelectorAll('table')].every(t => t.caption && t.caption.innerText)")
    assert opened.evaluate("document.querySelectorAll('h1').length") == 1
    assert opened.evaluate("document.documentElement.lang") == "en"
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 26)"

    # Names of folders, classes, samples and words are texts.
    for tag in ("script", "b", "i"):
        assert opened.evaluate(f"document.querySelectorAll('{tag}').length") == 0
    assert "<b>&amp;é" in opened.evaluate("document.querySelector('h1').innerText")
    text = opened.evaluate("document.body.innerText")
    if kind not in ("verification", "segmentation", "volumes", "regression"):
        assert "dim <i>" in text
        assert "bright & é" in text
    assert "batch_size = 8" in text
    assert "metrics.csv" in text
    assert str(run.environment["packages"]["torch"]) in text
    opened.page.close()


def test_a_page_of_a_calibrated_run(trained: Any, browser: Any, tmp_path: Path) -> None:
    run, dataset = trained("image")
    evaluation = evaluate(run, "val", dataset=dataset, bootstrap=0, calibration="fit", tta=True)
    path = write_report(run, evaluation, dataset, folder=tmp_path)
    assert path == tmp_path / REPORT
    assert evaluation.calibration is not None
    assert evaluation.calibration.fitted is not None
    opened = Opened(browser, path, color_scheme="light")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    text = opened.evaluate("document.querySelector('#calibration').innerText")
    assert f"Temperature {evaluation.calibration.fitted.temperature:.4f}" in text
    assert "at the temperature" in text
    assert opened.evaluate("document.querySelectorAll('#calibration img').length") == 2
    assert "the mean of 6 views" in opened.evaluate("document.querySelector('#summary').innerText")
    opened.page.close()


# Without a browser ---------------------------------------------------------------------------------------------------


def test_the_same_run_is_the_same_page(trained: Any, tmp_path: Path) -> None:
    run, dataset = trained("image")
    evaluation = evaluate(run, dataset=dataset, bootstrap=10)
    (tmp_path / "one").mkdir()
    first = write_report(run, evaluation, dataset, folder=tmp_path / "one").read_bytes()
    assert write_report(run, evaluation, dataset, folder=tmp_path / "one").read_bytes() == first
    text = first.decode()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "http" not in re.sub(r"http-equiv", "", re.sub(r'src="data:[^"]*"', "", text))


def test_a_page_without_its_data(trained: Any, tmp_path: Path) -> None:
    """The data of these runs was never on disk."""
    run, dataset = trained("image")
    text = write_report(run, evaluate(run, dataset=dataset, bootstrap=0), folder=tmp_path).read_text(encoding="utf-8")
    assert "The data of this run cannot be read." in text


def test_a_place_that_cannot_be_written(trained: Any, tmp_path: Path) -> None:
    run, dataset = trained("image")
    evaluation = evaluate(run, dataset=dataset, bootstrap=0)
    with pytest.raises(DataError) as error:
        write_report(run, evaluation, dataset, folder=tmp_path / "no")
    assert str(error.value) == (
        f"Expected a place where the file can be written; received {tmp_path / 'no' / REPORT}: "
        "No such file or directory. Create the folder first."
    )
