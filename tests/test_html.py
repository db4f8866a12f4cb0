"""The report as a page: whole, safe, and readable in a real browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from runs import facts, report_of, run

from patchwork_tf.benchmarks import html, latency, report
from patchwork_tf.zoo.systems import list_systems

VOID = {"meta", "line", "path", "rect", "circle", "br"}


class Outline(HTMLParser):
    """Checks that elements are closed in order, and keeps their attributes and what is written in them."""

    def __init__(self, page):
        super().__init__()
        self.open, self.attributes, self.words = [], [], ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


@pytest.fixture(scope="module")
def phone_page():
    return html.page(report_of(list_systems(), repeats=2, on_phone=True, fps=30))


def test_page_is_whole_and_has_every_system(phone_page):
    outline = Outline(phone_page)
    tips = " ".join(value for name, value in outline.attributes if name == "data-tip")
    for name in list_systems():
        assert outline.words.count(name) >= 4  # its row, its plot over time, its kinds of frames, its file
        assert f"{name}, measured here" in tips
    assert "vid-pw-m4n2, the paper's\n55.2 ms, 0.361 of the single-frame network\n543 MFLOPs" in tips
    for term in latency.DEFINITIONS:
        assert term in outline.words
    assert "34\N{DEGREE SIGN}C" in outline.words
    assert "temperature moved by +4.5 degrees" in outline.words
    assert ("class", "taint") in outline.attributes


def test_page_needs_nothing_but_itself(phone_page):
    assert not re.search(r"https?:|@import|url\(|<link|<img|<iframe|\bsrc=|\bhref=", phone_page)
    assert len(phone_page) < 300_000


def test_page_shows_what_is_written_in_a_report_as_it_is_written():
    result = report_of(["vid-sf"])
    result["machine"] = {**result["machine"], "cpu": "<script>alert('1 & \"2\"')</script>"}
    result["command"] = "patchwork-benchmark --json='<b>'"
    page = html.page(result)
    assert page.count("<script>") == 1  # ours
    assert "<script>alert('1 & \"2\"')</script>, 1 thread" in Outline(page).words


def test_page_with_the_stock_tools_times():
    raw = run(["vid-sf"], on_phone=True)
    result = report.build({**raw, "stock": {"vid-sf": {"mean": 134567.8, "count": 500}}}, facts(["vid-sf"]), "x")
    words = Outline(html.page(result)).words
    assert "Cross-check with benchmark_model" in words
    assert "135500" in words  # 135 ms of 500 runs


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """<script>
window.onerror = message => document.title = message;
const point = document.querySelector('.mark');
point.focus();
document.title = [innerWidth, document.documentElement.scrollWidth, tip.hidden, tip.textContent.split('\\n')[0],
  matchMedia('(prefers-color-scheme: dark)').matches, getComputedStyle(document.body).backgroundColor].join('|');
</script></body>"""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (500, True)])
def test_page_in_a_browser(phone_page, width, dark, tmp_path):
    """It fits its window, follows the reader's colours, and tells by keyboard what a point is."""
    path = tmp_path / "page.html"
    path.write_text(phone_page.replace("</body>", PROBE))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path}/profile", f"--window-size={width},900"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run([*command, "--dump-dom", f"file://{path}"], capture_output=True, text=True, timeout=120)
    title = re.search("<title>(.*?)</title>", done.stdout)[1]
    inner, needed, tip_hidden, tip, is_dark, background = title.split("|")
    assert int(inner) == width
    assert int(needed) <= width
    assert (tip_hidden, tip) == ("false", "vid-sf, measured here")
    assert is_dark == str(dark).lower()
    assert background == ("rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)")
    assert done.stdout.count("<svg") == 2 * 2 + 2 + len(list_systems())
