"""The page in a real browser: it finds things, answers as LiteRT in Python, measures, and says what is wrong."""

import base64
import functools
import http.server
import itertools
import json
import re
import shutil
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from exports import export
from playwright.sync_api import sync_playwright

from patchwork_tf import drawing
from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.benchmarks import latency, workloads
from patchwork_tf.benchmarks import report as reports
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError
from patchwork_tf.export import golden, metadata, web
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.resizing import resize_frame
from patchwork_tf.streaming.stream import stream

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "docs/photos.mp4"
SYSTEMS = ["oid-pw-m4n2", "oid-sf", "voc-pw-m4n2"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SECONDS = 1000  # in Playwright's units


@pytest.fixture(scope="module")
def site(chromium, tmp_path_factory):
    """What patchwork-web builds, below a folder, with systems of two tasks and sizes."""
    try:
        return web.build(str(tmp_path_factory.mktemp("web") / "site"), SYSTEMS)
    except DataError as error:
        if "cannot be loaded" in str(error):
            pytest.skip("npm's registry cannot be reached")
        raise


@contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def address(site):
    """Where patchwork-web serves it."""
    with running(web.server(str(site.parent), 0)) as address:
        yield address


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """The clip, as Chromium takes it for a camera."""
    path = str(tmp_path_factory.mktemp("camera") / "clip.mjpeg")
    with av.open(path, "w") as container:
        track = container.add_stream("mjpeg", rate=30, width=512, height=384, pix_fmt="yuvj420p")
        track.options = {"qscale": "2"}
        for frame in Video(str(CLIP)):
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(track.encode())
    return path


@pytest.fixture(scope="module")
def playwright():
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright, chromium, camera):
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    fake += [f"--use-file-for-fake-video-capture={camera}"]
    with playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *fake]) as browser:
        yield browser


@contextmanager
def opened(browser, address, wait=True, prepare=lambda page: None, **context):
    """The page, with its first model ready. Its service worker is in the way of `page.route`."""
    inside = browser.new_context(**{"service_workers": "block", **context})
    page = inside.new_page()
    page.set_default_timeout(60 * SECONDS)
    prepare(page)
    page.goto(address)
    if wait:
        page.locator("#status", has_text="is ready").wait_for()
        assert page.text_content("#alert") == ""
    try:
        yield page
    finally:
        inside.close()


def alert(page) -> str:
    page.locator("#alert:not([hidden])").wait_for()
    return page.inner_text("#alert")


def test_camera_finds_what_is_in_the_clip(browser, address):
    """At a phone's size, and at a desktop's beside the network on every frame; no request goes elsewhere."""
    requested = []
    for width, height, scheme in ((390, 844, "dark"), (1280, 800, "light")):
        screen = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
        watch = lambda page: page.on("request", lambda request: requested.append(request.url))  # noqa: E731
        with opened(browser, address, prepare=watch, **screen) as page:
            page.click("#camera")
            if width < height:
                page.locator(".found li", has_text="Person").first.wait_for()
                page.locator(".found li", has_text="Coffee cup").first.wait_for()
                page.locator(".numbers", has_text=re.compile(r"^\d+\.\d ms.*window \d, \d")).wait_for()
            else:
                page.check("#both")
                page.locator(".panel:nth-of-type(2) .found li", has_text="Coffee cup").first.wait_for()
                assert page.locator(".panel .policy").all_inner_texts()[1].startswith("every frame")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.text_content("#alert") == ""
    assert {url.split("/")[2] for url in requested if url.startswith("http")} == {address.split("/")[2]}


PUSH = """async ([name, images, start]) => {
  const { Engine } = await import("./engine.js");
  const engine = new Engine();
  await engine.call("start", [1, true]);
  await engine.call("open", [name, new Uint8Array(await (await fetch(`models/${name}.tflite`)).arrayBuffer())]);
  await engine.call("reset", [name, start]);
  const answers = [];
  for (const image of images) {
    const bytes = Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" });
    const { boxes, classes, regions, window } = await engine.call("push", [name, bitmap, null], [bitmap]);
    answers.push({ boxes, classes: classes && Array.from(classes), regions, window });
  }
  engine.end();
  return answers;
}"""


def answers_of_both(browser, address, site, system, width, height, count, start="whole"):
    """The page's and Python's to frames of the clip."""
    frames = [cv2.resize(frame, (width, height)) for frame in itertools.islice(Video(str(CLIP)), count)]
    images = [base64.b64encode(cv2.imencode(".png", frame[..., ::-1])[1]).decode() for frame in frames]
    with opened(browser, address, wait=False) as page:
        found = page.evaluate(PUSH, [system, images, start])
    step = ExportedStep(str(site / f"models/{system}.tflite"))
    return zip(found, stream(step, frames, start=start), strict=True)


@pytest.mark.parametrize("start", ["whole", "sweep"])
def test_answers_equal_those_of_python(browser, address, site, start):
    """On frames that are enlarged to another shape than the network's."""
    answers = answers_of_both(browser, address, site, SYSTEMS[0], 640, 360, 12, start)
    for number, (answer, expected) in enumerate(answers):
        assert answer["window"] == (expected.window and list(expected.window))
        if start == "sweep" and number < 3:
            continue  # where nobody has looked boxes are alike, and the last bits decide which of them are kept
        assert [box["label"] for box in answer["boxes"]] == expected.classes.tolist()
        np.testing.assert_allclose([box["box"] for box in answer["boxes"]], expected.boxes, atol=1e-3)
        np.testing.assert_allclose([box["score"] for box in answer["boxes"]], expected.scores, atol=1e-3)


def test_classes_equal_those_of_python(browser, address, site):
    """And the name of each belongs in the midst of its largest region."""
    for answer, expected in answers_of_both(browser, address, site, SYSTEMS[2], 512, 512, 4):
        assert answer["window"] == (expected.window and list(expected.window))
        classes = np.reshape(answer["classes"], (512, 512))
        assert (classes != expected.mask).mean() < 1e-3
        assert {region["number"] + 1 for region in answer["regions"]} == set(np.unique(classes)) - {0}
        for region in answer["regions"]:
            mask = (classes == region["number"] + 1).astype(np.uint8)
            assert region["share"] == pytest.approx(mask.mean())
            regions = cv2.connectedComponentsWithStats(mask, connectivity=4)[2][1:]
            left, top, width, height, _ = max(regions, key=lambda each: each[cv2.CC_STAT_AREA])
            middle = [(left + width / 2) / 512, (top + height / 2) / 512]
            np.testing.assert_allclose([region["x"], region["y"]], middle)


COUNT = """([red, green, blue]) => {
  const canvas = document.querySelector(".picture canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    count += data[i] === red && data[i + 1] === green && data[i + 2] === blue;
  return count;
}"""


def test_segmenter_of_several_classes(browser, address, site, tmp_path):
    """It is proven and seen, and measured beside a detector, if that is asked for."""
    labels = metadata.read(str(site / f"models/{SYSTEMS[2]}.tflite"))["labels"]
    with opened(browser, address) as page:
        page.select_option(".system", SYSTEMS[2])
        page.locator("#status", has_text=f"{SYSTEMS[2]} is ready").wait_for()
        assert re.search("On golden frames it answers as elsewhere, to [0-9]e-", page.inner_text(".proof"))
        page.click("#sample")
        page.locator(".found li", has_text=re.compile(r"^cat \d+\.\d %$")).wait_for()
        assert page.evaluate(COUNT, drawing.class_colour(labels.index("cat"), len(labels))) > 100
        boxes = page.locator("#systems input").all()
        assert [box.is_checked() for box in boxes] == [True, True, False]
        page.click("#tab-measure")
        boxes[0].uncheck()
        boxes[2].check()
        measure(page, 32, str(tmp_path / "two.json"))
        assert "No ratios: voc-sf was not measured." in page.inner_text("#notes")
    report = json.loads((tmp_path / "two.json").read_text())["systems"]
    assert {name: system["ratio_mean"] for name, system in report.items()} == {SYSTEMS[1]: 1, SYSTEMS[2]: None}


RESIZE = """async ([rgba, frame, network, letterbox, part]) => {
  const { Resizing } = await import("./resizing.js");
  const resizing = new Resizing(frame, network, letterbox), source = resizing.source(part), pixels = [];
  for (let y = source.top; y < source.bottom; y++)
    pixels.push(...rgba.slice(4 * (y * frame.width + source.left), 4 * (y * frame.width + source.right)));
  const target = new Float32Array(3 * network.height * network.width).fill(-1);
  resizing.fill(Uint8ClampedArray.from(pixels), part, target);
  return Array.from(target, (value) => Math.round((value + 1) * 127.5));
}"""
SIZES = [(64, 64), (96, 128), (128, 128), (150, 90), (64, 100), (40, 52), (31, 97), (200, 50)]


@pytest.mark.parametrize("resize_mode", ["stretch", "letterbox"])
def test_scaling_equals_opencv(browser, address, resize_mode):
    """A window is made of those pixels that OpenCV makes it of: to the bit, or where it enlarges, almost."""
    part = {"top": 16, "left": 32, "bottom": 48, "right": 64}
    window = np.s_[part["top"] : part["bottom"], part["left"] : part["right"]]
    with opened(browser, address, wait=False) as page:
        for height, width in SIZES:
            frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            rgba = np.concatenate([frame, np.full((height, width, 1), 255, np.uint8)], axis=2)
            sizes = [{"height": height, "width": width}, {"height": 64, "width": 64}]
            found = page.evaluate(RESIZE, [rgba.ravel().tolist(), *sizes, resize_mode == "letterbox", part])
            found = np.reshape(found, (64, 64, 3))[window]
            differences = np.abs(found - resize_frame(frame, (64, 64), resize_mode)[window].astype(int))
            assert differences.max() <= 1, (height, width)
            scale = min(64 / height, 64 / width)
            grows = scale > 1 if resize_mode == "letterbox" else min(height, width) < 64
            assert (differences > 0).mean() <= (0.01 if grows else 0), (height, width)


def measure(page, steps=64, path=None):
    page.click("#tab-measure")
    page.fill("#steps", str(steps))
    page.click("#begin")
    if path:
        page.locator("#report:not([hidden])").wait_for()
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(path)


def test_measuring_yields_a_report(browser, address, site, tmp_path, capsys):
    path = str(tmp_path / "browser.json")
    with opened(browser, address) as page:
        measure(page, path=path)
        rows = [re.split(r"\s+", row) for row in page.locator("#results tbody tr").all_inner_texts()]
        assert "Only 64 frames" in page.inner_text("#notes")
        assert page.text_content("#alert") == ""
    report, raw = reports.read(path), json.loads(Path(path).read_text())
    assert (report.target, report.finished, report.machine["threads"]) == ("browser", True, 1)
    assert {row[0]: float(row[1]) for row in rows} == {
        name: pytest.approx(run.statistics["median_ms"], abs=0.006) for name, run in report.runs.items()
    }
    for name, run in report.runs.items():
        assert len(run.samples) == 64
        assert {repeat.load_ms > 0 for repeat in run.repeats} == {True}
        assert raw["systems"][name]["p95_ms"] == pytest.approx(run.statistics["p95_ms"])
        low, high = latency.interval(latency.resample(run.samples)[:, 0])
        assert raw["systems"][name]["intervals"]["median_ms"] == pytest.approx([low, high], rel=0.1)
        expected = workloads.from_file(str(site / f"models/{name}.tflite")).run
        for field in ("task", "reference", "stream", "patchwork", "depth", "image_size", "file"):
            assert getattr(run, field) == getattr(expected, field), field
        for field in ("mflops_max", "mflops_avg", "mflops_avg_run"):
            assert getattr(run, field) == pytest.approx(getattr(expected, field), rel=1e-6), field
        assert raw["systems"][name]["kinds"].keys() == run.kinds.keys()
    medians = {name: run.statistics["median_ms"] for name, run in report.runs.items()}
    ratio = medians["oid-pw-m4n2"] / medians["oid-sf"]
    assert raw["systems"]["oid-pw-m4n2"]["ratio_median"] == pytest.approx(ratio)
    assert benchmark.main([f"--report={path}", f"--html={tmp_path}/page.html"]) == 0
    assert "Measured in a browser (" in capsys.readouterr().out
    assert benchmark.main([f"--report={path},{path}"]) == 0
    assert "+0.0" in capsys.readouterr().out


def test_threads_and_plain_simd(browser, address, tmp_path):
    with opened(browser, address) as page:
        page.click("#tab-measure")
        page.locator("#systems input").nth(1).uncheck()
        page.select_option("#threads", "2")
        measure(page, 32, str(tmp_path / "two.json"))
        assert "No ratios: oid-sf was not measured." in page.inner_text("#notes")
        page.select_option("#threads", "1")
        page.select_option("#simd", "128")
        page.evaluate("document.getElementById('report').hidden = true")
        measure(page, 32, str(tmp_path / "plain.json"))
    two, plain = (reports.read(str(tmp_path / name)).machine for name in ("two.json", "plain.json"))
    assert (two["threads"], two["simd"]) == (2, "relaxed")
    assert (plain["threads"], plain["simd"]) == (1, "128")


HIDE = """
  let hidden = false;
  Object.defineProperty(document, "hidden", { get: () => hidden });
  self.timed = [];
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message, ...rest) {
    if (message.name === "time") self.timed.push(message.values[0]);
    return post.call(this, message, ...rest);
  };
  self.hide = (value) => { hidden = value; document.dispatchEvent(new Event("visibilitychange")); };
"""


def test_measuring_waits_for_a_hidden_tab_and_can_be_cancelled(browser, address):
    with opened(browser, address, prepare=lambda page: page.add_init_script(HIDE)) as page:
        measure(page, 10000)
        page.locator("#measuring", has_text=re.compile("[1-9][0-9]* s to go")).wait_for()
        page.evaluate("hide(true)")
        page.locator("#measuring", has_text="This tab is hidden").wait_for()
        timed = page.evaluate("timed")
        page.evaluate("hide(false)")
        page.locator("#measuring", has_text="Measuring: ").wait_for()
        page.wait_for_timeout(3 * SECONDS)
        assert page.evaluate("timed")[len(timed)] == timed[-1]  # the one in which the tab was hidden, once more
        page.click("#tab-see")
        page.click("#sample")
        assert "cancel that first" in alert(page)
        page.click("#tab-measure")
        page.click("#cancel")
        page.locator("#report:not([hidden])").wait_for()
        assert "Cut short: 10000 frames per system" in page.inner_text("#notes")
        assert page.locator("#begin").is_enabled()


def test_cancelling_while_something_is_loaded(browser, address):
    """The page can be used again at once."""
    held = []
    with opened(browser, address) as page:
        page.route("**/oid-sf.tflite", lambda route: held.append(route))
        measure(page, 32)
        page.locator("#measuring", has_text="oid-sf: opening").wait_for()
        page.click("#cancel")
        held[0].continue_()
        page.locator("#begin:enabled").wait_for()
        assert page.text_content("#alert") == ""


def test_other_answers_are_not_measured(browser, address):
    """A browser that changes what it is given to draw, say."""

    def spoil(page):
        page.route("**/oid-sf.golden.txt", lambda route: route.fulfill(body=spoilt(route.fetch().text())))

    def spoilt(text):
        first, second, box, *rest = text.split("\n")
        return "\n".join([first, second, re.sub(r" 0\.\d+ (\d+)$", r" 0.9 \1", box), *rest])

    with opened(browser, address, prepare=spoil) as page:
        measure(page, 32)
        assert re.match(r"Not measured. oid-sf: Here this model gives other answers .*golden.txt:3", alert(page))
        assert page.locator("#report").is_hidden()


def wrong_files(site, folder):
    """Files that are none of ours, and what is said of them."""
    whole = (site / f"models/{SYSTEMS[0]}.tflite").read_bytes()
    facts = metadata.read(str(site / f"models/{SYSTEMS[0]}.tflite"))
    small = {**facts, "states": [{**state, "dtype": "int8"} for state in facts["states"]]}
    contents = {
        "notes.txt": (b"hello", "neither a video nor a .tflite file"),
        "text.tflite": (b"hello, this is no network", "not a TFLite file"),
        "other.tflite": (metadata_free(whole), "no Patchwork metadata"),
        "cut.tflite": (whole[: len(whole) // 2], "damaged"),
        "old.tflite": (metadata.insert(whole, {**facts, "patchwork": 3}), "version 3, this page reads 5"),
        "int8.tflite": (metadata.insert(whole, small), "export this system with --quantize=float16"),
        "raw.tflite": (metadata.insert(whole, {**facts, "predictions": {"boxes": []}}), "without --nosuppression"),
    }
    for name, (content, message) in contents.items():
        (folder / name).write_bytes(content)
        yield str(folder / name), message


def metadata_free(file):
    return file.replace(b"patchwork.json", b"something.json")


DROP = """() => {
  const dropped = new DataTransfer();
  dropped.items.add(new File(["hello"], "dropped.doc"));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
}"""


def test_wrong_files(browser, address, site, tmp_path):
    with opened(browser, address) as page:
        page.evaluate(DROP)
        page.locator("#alert", has_text="dropped.doc: neither a video nor a .tflite file").wait_for()
        for path, message in wrong_files(site, tmp_path):
            page.set_input_files("#model-file", path)
            page.locator("#alert", has_text=message).wait_for()
        video = tmp_path / "no.mp4"
        video.write_bytes(b"no video at all")
        page.set_input_files("#video-file", str(video))
        page.locator("#alert", has_text="no.mp4: this browser cannot play it.").wait_for()
        page.click("#sample")
        page.locator(".found li", has_text="Coffee cup").first.wait_for()
        assert page.text_content("#alert") == ""


def test_file_of_ones_own_with_its_golden_vectors(browser, address, small, tmp_path):
    """A segmenter, which is proven, seen and measured."""
    path = str(tmp_path / "mine.tflite")
    export(small("davis-pw-m2n1"), path, verify_steps=3)
    golden.write(path, str(tmp_path))
    with opened(browser, address) as page:
        page.set_input_files("#model-file", [path, str(tmp_path / "golden.txt"), str(tmp_path / "frames.rgb")])
        page.locator("#status", has_text="mine.tflite is ready").wait_for()
        assert re.search("On golden frames it answers as elsewhere, to [0-9]e-", page.inner_text(".proof"))
        page.click("#sample")
        page.locator(".numbers", has_text=re.compile("window [01], [01]")).wait_for()
        page.select_option(".policy", "raster")
        page.evaluate(WINDOWS)
        page.wait_for_timeout(3 * SECONDS)
        seen = page.evaluate("seen")
        first = seen.index("0, 0")
        assert seen[first : first + 5] == ["0, 0", "0, 1", "1, 0", "1, 1", "0, 0"]
        for box in page.locator("#systems input").all()[:2]:
            box.evaluate("box => box.checked = false")
        measure(page, 32, str(tmp_path / "own.json"))
    assert list(reports.read(str(tmp_path / "own.json")).runs) == ["davis-pw-m2n1"]


WINDOWS = """() => {
  self.seen = [];
  new MutationObserver(() => {
    const window = /window (\\d, \\d)/.exec(document.querySelector(".numbers").textContent)?.[1];
    if (window) self.seen.push(window);
  }).observe(document.querySelector(".numbers"), { childList: true });
}"""
GROW = """async (name) => {
  const { Engine } = await import("./engine.js");
  const engine = new Engine();
  await engine.call("start", [1, true]);
  await engine.call("open", [name, new Uint8Array(await (await fetch(`models/${name}.tflite`)).arrayBuffer())]);
  const text = "golden 1 480 640\\n";
  await engine.call("take", [text, new Uint8Array(3 * 480 * 640)]);
  const before = (await engine.call("time", [name, 100, 0])).memoryMb; // WebAssembly grows by a fifth at a time
  const after = (await engine.call("time", [name, 200, 0])).memoryMb;
  engine.end();
  return [before, after];
}"""


def test_memory_does_not_grow(browser, address):
    with opened(browser, address, wait=False) as page:
        before, after = page.evaluate(GROW, SYSTEMS[0])
    assert after == before


def test_browsers_that_lack_something(playwright, chromium, browser, address):
    no_simd = "WebAssembly.validate = () => false"
    with opened(browser, address, wait=False, prepare=lambda page: page.add_init_script(no_simd)) as page:
        assert "no SIMD in WebAssembly. Take a newer one" in alert(page)
    with (
        playwright.chromium.launch(executable_path=chromium, args=FLAGS) as plain,
        opened(plain, address) as page,
    ):
        page.click("#camera")
        assert re.search("There is no camera|The camera was not allowed", alert(page))
        page.context.grant_permissions(["camera"])
        page.click("#camera")
        page.locator("#alert", has_text="There is no camera").wait_for()


def test_plain_static_host(browser, site):
    """Without any headers: its service worker isolates it, so that it has threads."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *ignored):
            pass

    handler = functools.partial(Quiet, directory=str(site.parent))
    plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with running(plain) as address, opened(browser, f"{address}#threads=2", service_workers="allow") as page:
        assert page.evaluate("crossOriginIsolated") is True
        assert page.locator("#threads").input_value() == "2"
        page.click("#sample")
        page.locator(".found li", has_text="Coffee cup").first.wait_for()


def renewed(site, title):
    """The same as if it had been built of other sources."""
    new = site.with_name(site.name[::-1])
    for path in (site / "index.html", site / "offline.js"):
        text = path.read_text().replace(site.name, new.name)
        path.write_text(re.sub("<title>.*?</title>", f"<title>{title}</title>", text))
        shutil.copy(path, site.parent)
    return site.rename(new)


KEPT = """async (folder) => {
  for (let kept = []; !kept.length || kept.some(({ url }) => !url.includes(folder)); ) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const name of await caches.keys()) kept = await (await caches.open(name)).keys();
  }
}"""


def test_without_a_network(browser, site, tmp_path):
    """What was loaded once is there; of a page that was built anew, that one, and nothing of the one before."""
    site = shutil.copytree(site.parent, tmp_path / "site") / site.name
    with ExitStack() as serving:
        address = serving.enter_context(running(web.server(str(site.parent), 0)))
        with opened(browser, address, service_workers="allow") as page:
            page.evaluate(KEPT, site.name)
            site = renewed(site, "The new one")
            page.reload()
            page.locator("#status", has_text="is ready").wait_for()
            assert page.title() == "The new one"
            page.evaluate(KEPT, site.name)
            serving.close()
            page.context.set_offline(True)
            page.reload()
            page.locator("#status", has_text="is ready").wait_for()
            assert page.title() == "The new one"
            page.click("#sample")
            page.locator(".found li", has_text="Coffee cup").first.wait_for()
            page.select_option(".system", SYSTEMS[1])
            assert "cannot be loaded (no connection)" in alert(page)


def test_address_has_the_settings(browser, address):
    with opened(browser, address) as page:
        assert page.url == address
        page.check("#both")
        page.locator("#status", has_text=f"{SYSTEMS[1]} is ready").wait_for()
        page.locator(".policy").first.select_option("raster")
        page.select_option("#start", "sweep")
        page.click("#sample")
        page.locator("#status", has_text="Playing").wait_for()
        page.click("#tab-measure")
        page.locator("#systems input").nth(1).uncheck()
        page.fill("#steps", "64")
        page.select_option("#threads", "2")
        given = page.url
    assert given == (
        f"{address}#tab=measure&play=sample&system={SYSTEMS[0]},{SYSTEMS[1]}&policy=raster,1&measure={SYSTEMS[0]}"
        "&start=sweep&frames=64&threads=2"
    )
    with opened(browser, given, wait=False) as page:
        page.locator("#begin").wait_for()
        assert page.url == given
        assert page.text_content("#alert") == ""
        assert [box.is_checked() for box in page.locator("#systems input").all()] == [True, False, False]
        page.click("#tab-see")
        page.click("#pause")
        page.locator(".panel:nth-of-type(2) .found li", has_text="Coffee cup").first.wait_for()
        page.click("#both")
        assert "system=" not in page.url


def test_addresses_that_ask_for_what_is_not_there(browser, address):
    wrong = [
        "system=none",
        "policy=model,raster",
        "play=all",
        "threads=99",
        "least=x",
        "frames=3",
        "none=",
        "tab=%00",
    ]
    with opened(browser, f"{address}#{'&'.join(wrong)}&simd=128", wait=False) as page:
        message = alert(page)
        assert page.inner_text("#status") == f"{SYSTEMS[0]} is ready."
        for text in wrong[:-1]:
            assert text in message
        assert page.url == f"{address}#simd=128"
        assert page.locator("#threads").input_value() == "1"
        assert page.locator("#least-shown").inner_text() == "0.30"


def test_keyboard(browser, address):
    with opened(browser, address) as page:
        page.focus("#tab-see")
        page.keyboard.press("ArrowRight")
        assert page.locator("#measure").is_visible()
        assert page.locator("#see").is_hidden()
        page.keyboard.press("ArrowLeft")
        for _ in range(2):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "sample"
        page.keyboard.press("Enter")
        page.locator(".found li").first.wait_for()


def test_command(site, tmp_path, capsys, monkeypatch):
    """What is there is served at once; where there is another page, or no network, that is said."""
    monkeypatch.setattr(web, "_make", None)
    again = ["--build_only", f"--folder={site.parent}"]
    assert web.main(again) == 0
    assert web.main([*again, f"--systems={','.join(SYSTEMS)}"]) == 0
    assert "is ready for any static host" in capsys.readouterr().out
    assert web.main([*again, "--systems=vid-sf-int4-delay3"]) == 2
    assert "--systems=vid-sf-int4-delay3: the page takes vid-sf, " in capsys.readouterr().err
    with web.server(str(site.parent), 0) as taken:
        assert web.main([f"--folder={site.parent}", f"--port={taken.server_port}"]) == 1
        assert "name another one by --port" in capsys.readouterr().err
    (tmp_path / "index.html").write_text("another")
    assert web.main([f"--folder={tmp_path}"]) == 1
    assert "there is another page in it" in capsys.readouterr().err
    assert (tmp_path / "index.html").read_text() == "another"


def test_no_network(tmp_path, capsys, monkeypatch):
    """It is said what to put where; a file that was changed is not taken. Nothing is left behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(web, "_NPM", "http://localhost:1")
    kept = tmp_path / "cache/patchwork_tf/litertjs"
    kept.mkdir(parents=True)
    (kept / "core-2.5.3.tgz").write_bytes(b"changed")
    assert web.main(["--build_only", f"--folder={tmp_path}/site"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(f"http://localhost:1/core/-/core-2.5.3.tgz cannot be loaded .*; put it into {kept}", said)
    assert not list((tmp_path / "site").iterdir())
