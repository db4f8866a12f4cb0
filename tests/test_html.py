"""The report as a page: whole, safe, and readable in a real browser."""

import dataclasses
import re
import subprocess
from html.parser import HTMLParser

import pytest
from runs import report_of

from patchwork_tf.benchmarks import html, latency
from patchwork_tf.benchmarks.report import Accuracy
from patchwork_tf.zoo.systems import list_systems

VOID = {"meta", "br"}


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
    for name in list_systems():
        assert outline.words.count(name) >= 7  # in tables and plots
        assert f"{name}, measured here" in outline.words
        assert ("aria-label", f"{name} over time") in outline.attributes
    assert "vid-pw-m4n2, the paper's\n55.2 ms" in outline.words
    for term in latency.DEFINITIONS:
        assert term in outline.words
    assert "33\N{DEGREE SIGN}C" in outline.words
    assert "6.25 % of frames" in outline.words
    assert "temperature moved by +4.5 degrees" in outline.words
    assert phone_page.count("fill: var(--taint)") == len(list_systems())  # the second of two repeats each


def test_page_needs_nothing_but_itself(phone_page):
    assert not re.search(
        r"https?:|@import|url\((?!#)|<link|<img|<iframe|<script|\bsrc=|\bhref=(?!\"#)", phone_page
    )
    ids = re.findall(r' id="([^"]*)"', phone_page)
    assert len(ids) == len(set(ids))
    assert {*re.findall(r'(?:href="|url\()#(\w+)', phone_page)} == {*ids}
    assert len(phone_page) < 1_000_000


def test_plots_have_no_colours_of_their_own(phone_page):
    """All are variables that the page defines for light and for dark mode."""
    style, body = phone_page.split("</style>")
    assert not re.search(r"#[0-9a-f]{6}\b", body)
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for name in {*re.findall(r"var\(--(\w+)\)", body)}:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark


def test_the_same_report_gives_the_same_page():
    assert html.page(report_of(["vid-sf", "vid-pw-m4n2"])) == html.page(report_of(["vid-sf", "vid-pw-m4n2"]))


def test_page_shows_what_is_written_in_a_report_as_it_is_written():
    report = report_of(["vid-sf"])
    machine = {**report.machine, "cpu": "<script>alert('1 & \"2\"')</script>"}
    page = html.page(dataclasses.replace(report, machine=machine, command="patchwork-benchmark --json='<b>'"))
    assert "<script" not in page
    assert "<script>alert('1 & \"2\"')</script>, 1 thread" in Outline(page).words


def test_page_of_systems_of_ones_own():
    """Names mean nothing: mathematics, a tag, an id of matplotlib's will do; and a reference may be missing."""
    report = report_of(["vid-sf", "vid-pw-m4n2"])
    run = dataclasses.replace(report.runs["vid-pw-m4n2"], paper=None)
    names = ["line2d_1", "<i>$x^2$</i>", "a, b"]
    own = {name: dataclasses.replace(run, system=name) for name in names}
    words = Outline(html.page(dataclasses.replace(report, runs={**report.runs, **own}))).words
    assert all(words.count(name) >= 8 for name in names)
    lonely = html.page(dataclasses.replace(report, runs=own))
    assert "Latency against" not in lonely
    assert lonely.count("<svg") == 1 + len(names)


def test_page_with_accuracies():
    report = report_of(["vid-sf", "vid-pw-m4n2"])
    scored = Accuracy({"mAP": 54.25}, "vid", "oracle", [384, 384], {"name": "weights.h5"})
    runs = {**report.runs, "vid-sf": dataclasses.replace(report.runs["vid-sf"], accuracy=scored)}
    words = Outline(html.page(dataclasses.replace(report, runs=runs))).words
    assert "Latency against accuracy: Detection" in words
    assert "vid-sf, measured here" in words
    assert "vid-pw-m4n2, the paper's" in words
    assert "vid-pw-m4n2, measured here" not in words  # its accuracy is unknown


PROBE = """<script>
const svg = document.querySelector('svg'), path = svg.querySelector('use'), text = svg.querySelector('text');
document.title = [innerWidth, document.documentElement.scrollWidth, document.querySelector('.scroll').tabIndex,
  Math.round(svg.getBoundingClientRect().width), getComputedStyle(path).stroke, getComputedStyle(text).fill,
  matchMedia('(prefers-color-scheme: dark)').matches, getComputedStyle(document.body).backgroundColor].join('|');
</script></body>"""
# Of points of single-frame systems, of ticks, and of the page.
LIGHT = ["rgb(0, 114, 178)", "rgb(93, 99, 107)", "false", "rgb(255, 255, 255)"]
DARK = ["rgb(86, 180, 233)", "rgb(160, 167, 176)", "true", "rgb(21, 23, 26)"]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (500, True)])
def test_page_in_a_browser(phone_page, width, dark, chromium, tmp_path):
    """It fits its window, two plots a row or one, in the reader's colours, and tables scroll by keyboard."""
    path = tmp_path / "page.html"
    path.write_text(phone_page.replace("</body>", PROBE))
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path}/profile", f"--window-size={width},900"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run([*command, "--dump-dom", f"file://{path}"], capture_output=True, text=True, timeout=120)
    title = re.search("<title>(.*?)</title>", done.stdout)[1]
    inner, needed, tab_index, plot, *colours = title.split("|")
    assert int(inner) == width
    assert int(needed) <= width
    assert tab_index == "0"
    assert int(plot) == pytest.approx(width - 54 if width < 900 else (min(width, 1180) - 32 - 13) / 2 - 22, abs=6)
    assert colours == (DARK if dark else LIGHT)
    networks = {name.split("-")[0] for name in list_systems()}
    assert done.stdout.count("<svg") == len(networks) * (2 + 1) + len(list_systems())
