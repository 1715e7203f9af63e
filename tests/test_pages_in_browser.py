"""Every page in a browser: nothing on its console, nothing out of its sides, readable by all.

Skipped where there is no Chromium. What axe finds is what it can find: about half of what keeps
people from reading a page.
"""

import contextlib
import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import kerastl
from kerastl import benchmark, check, compare, evaluate, explain

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
LARGEST_BYTES = 5_000_000

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def command(main, *words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    assert caught.value.code in (None, 0)


@pytest.fixture(scope="module")
def pages(painter, tmp_path_factory):
    """A page of each kind, with as many of its sections as one job can have."""
    place = tmp_path_factory.mktemp("pages")
    folder = painter(place / "photos", per_class=70)
    (folder / "2" / "broken.png").write_bytes(b"no image")
    with (place / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "camera"])
        for number, path in enumerate(sorted(folder.glob("*/*.png"))):
            rows.writerow([path, path.parent.name, ("old", "new")[number % 2]])
    random = np.random.default_rng(0)
    (place / "else").mkdir()
    for number in range(8):
        noise = random.integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(noise).save(place / "else" / f"{number}.png")
    # Half of the labels wrong: mistakes, label candidates, advice.
    wrong = painter(place / "hard", per_class=40, noise=140, seed=1)
    for number, path in enumerate(sorted(wrong.glob("1/*.png"))[:12]):
        path.rename(wrong / "2" / f"moved {number}.png")
    options = {"image_size": 32, "fine_tune_epochs": 2, "unfreeze_blocks": 1, "batch_size": 8}
    for name, data in (("run", folder), ("hard", wrong)):
        config = kerastl.FitConfig(
            str(data), out=str(place / "runs" / name), val_fraction=0.3, augment="light", **options
        )
        kerastl.run(config)
    run = place / "runs" / "run"
    command(
        evaluate.main, run, place / "table.csv", "--group-by", "camera", "--all-images",
        "--unknown", place / "else", "--out", place / "evaluated",
    )  # fmt: skip
    command(explain.main, run, folder / "1" / "picture 0.png", "--out", place / "explained")
    command(check.main, wrong, "--out", place / "checked")
    command(
        benchmark.main, "--backbone", "MobileNet", "--image-size", 32, "--images", 8,
        "--batch-size", 4, "--rounds", 1, "--out", place / "measured",
    )  # fmt: skip
    command(
        compare.main, folder, "--backbones", "MobileNet@32=none,VGG16@32=none,VGG16@16",
        "--most-images", 40, "--out", place / "compared",
    )  # fmt: skip
    found = {
        "run": run / "report.html",
        "hard": place / "runs" / "hard" / "report.html",
        "evaluate": place / "evaluated" / "report.html",
        "explain": place / "explained" / "explanation.html",
        "check": place / "checked" / "check.html",
        "benchmark": place / "measured" / "benchmark.html",
        "compare": place / "compared" / "comparison.html",
    }
    assert all(path.is_file() for path in found.values()), list(place.glob("*/*.html"))
    return found


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextlib.contextmanager
def opened(browser, said, *, width=1280, **options):
    """A page whose console and errors are heard."""
    with browser.new_context(viewport={"width": width, "height": 900}, **options) as context:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page


def require_readable(page):
    """Nothing out of the sides, nothing that axe finds."""
    beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(beyond) == 0
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize(
    "kind", ["run", "hard", "evaluate", "explain", "check", "benchmark", "compare"]
)
def test_a_page_is_whole(pages, browser, kind, width, scheme):
    said = []
    # Pages forbid all scripts but their own; the examiner is another.
    with opened(browser, said, width=width, color_scheme=scheme, bypass_csp=True) as page:
        page.on("request", lambda request: said.extend([request.url] * (request.url[:4] == "http")))
        page.goto(pages[kind].as_uri())
        require_readable(page)
    assert said == []
    assert pages[kind].stat().st_size < LARGEST_BYTES


@pytest.fixture
def page(pages, browser):
    """The report of the run with wrong labels, with its own rules for scripts."""
    said = []
    with opened(browser, said) as shown:
        shown.goto(pages["hard"].as_uri())
        yield shown
    assert said == []


def cells(page):
    """Names of the columns and rows of the confusion matrix, and what is read in its cells."""
    return page.evaluate(
        """() => {
            const table = document.getElementById("confusion");
            const body = [...table.tBodies[0].rows];
            return {
                columns: [...table.tHead.rows[0].querySelectorAll("th span")]
                    .map((one) => one.textContent),
                rows: body.map((row) => row.cells[0].firstChild.textContent.trim()),
                texts: body.map((row) => [...row.cells].slice(1).map((cell) => cell.innerText)),
            };
        }"""
    )


def test_the_confusion_matrix_can_be_read_in_other_ways(page, pages):
    metrics = json.loads((pages["hard"].parent / "metrics.json").read_text())
    kept = metrics[metrics["kept"]]["test"]
    confusion = np.array(kept["confusion"])
    names = [row["name"] for row in kept["per_class"]]
    shown = [[str(count) if count else "·" for count in row] for row in confusion]
    assert cells(page) == {"columns": names, "rows": names, "texts": shown}
    page.get_by_label("the share of its true class").check()
    shares = 100 * confusion / confusion.sum(axis=1, keepdims=True)
    shown = [[f"{share:.0f} %" if share else "·" for share in row] for row in shares]
    assert cells(page)["texts"] == shown
    # Rows and columns move together; so does what stands in them.
    for option in page.locator("select.order option").all()[1:]:
        order = [int(place) for place in option.get_attribute("value").split()]
        page.locator("select.order").select_option(label=option.text_content())
        expected = [names[place] for place in order]
        moved = [[shown[row][column] for column in order] for row in order]
        assert cells(page) == {"columns": expected, "rows": expected, "texts": moved}


def test_a_cell_leads_to_its_images(page):
    link = page.locator("#confusion td.wrong a").first
    shown = page.locator(link.get_attribute("href"))
    assert not shown.is_visible()
    link.click()
    assert shown.is_visible()
    assert shown.locator("img").first.evaluate("image => image.naturalWidth") > 0


def test_a_table_is_ordered_by_a_column(page):
    table = page.locator("table.sortable").first
    values = table.locator("tbody tr td.estimate:nth-of-type(3)")  # recall
    table.get_by_role("button", name="Recall").click()
    read = [float(one.get_attribute("data-value")) for one in values.all()]
    assert read == sorted(read)
    table.get_by_role("button", name="Recall").click()
    turned = [float(one.get_attribute("data-value")) for one in values.all()]
    assert turned == sorted(read, reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1


@pytest.mark.parametrize("width", [1100, 500])
def test_names_of_networks_are_not_broken_and_no_column_is_lost(pages, browser, width):
    said = []
    with opened(browser, said, width=width) as page:
        page.goto(pages["compare"].as_uri())
        lines = """names => names.map((name) => {
            const text = document.createRange();
            text.selectNodeContents(name.firstChild);
            return text.getClientRects().length;
        })"""
        counts = page.locator(".names tbody th").evaluate_all(lines)
        assert counts
        assert set(counts) == {1}
        box = page.locator(".scroll").first
        if width > 1000:
            assert box.evaluate("box => box.scrollWidth - box.clientWidth") == 0
        else:
            box.evaluate("box => box.scrollLeft = box.scrollWidth")
            last = box.locator("thead th").last.bounding_box()
            assert last["x"] + last["width"] <= width
    assert said == []


def test_a_page_without_scripts_and_on_paper(pages, browser):
    with browser.new_context(java_script_enabled=False) as context:
        plain = context.new_page()
        plain.goto(pages["hard"].as_uri())
        assert plain.locator("#confusion td.right").count() >= 1
        assert not plain.locator("select.order").is_visible()  # it would do nothing
        plain.locator("#confusion td.wrong a").first.click()
        assert plain.locator("details.images:has(:target) img").first.is_visible()
        plain.emulate_media(media="print")
        assert not plain.locator(".choice").is_visible()
        assert all(one.is_visible() for one in plain.locator("details.images ul").all())
        widths = plain.locator("img").evaluate_all("images => images.map(one => one.naturalWidth)")
        assert min(widths) > 0, "a picture waits to be scrolled to, and paper is not scrolled"
        assert plain.pdf()[:5] == b"%PDF-"


@pytest.fixture(scope="module")
def served(pages):
    """The address of a server of the run."""
    command = [sys.executable, "-m", "kerastl.serve", str(pages["run"].parent), "--rest-port", "0"]
    with subprocess.Popen(
        [*command, "--no-grpc"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process.stdout.readline().split()[-1]
        process.terminate()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_dropped_picture_is_answered_and_explained(served, pages, browser, scheme, width):
    folder = pages["run"].parents[2] / "photos"
    said = []
    with opened(browser, said, width=width, color_scheme=scheme, bypass_csp=True) as page:
        page.goto(served)
        drop = """async ([name, numbers]) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(numbers)], name, {type: "image/png"}));
            window.dispatchEvent(new DragEvent("drop", {dataTransfer: files, cancelable: true}));
        }"""
        picture = folder / "10" / "picture 3.png"
        page.evaluate(drop, [picture.name, list(picture.read_bytes())])
        evidence = page.locator("#map[src^='blob:']")
        evidence.wait_for()
        page.wait_for_function("document.getElementById('map').naturalWidth > 0")
        assert evidence.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [32, 32]
        shown = page.locator("#map").get_attribute("src")
        assert page.locator("#headline").text_content() == "10"
        assert "Have I seen this before?" in page.locator("#seen").text_content()
        rows = page.locator("#classes li")
        assert rows.count() == 3
        scores = [float(one.split()[0]) for one in rows.locator(".score").all_text_contents()]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(100, abs=0.3)
        # Another class is explained by a click.
        rows.nth(1).get_by_role("button").click()
        page.locator(f"#map:not([src='{shown}'])").wait_for()
        assert rows.nth(1).get_by_role("button").get_attribute("aria-pressed") == "true"
        require_readable(page)
        # Not a picture: said, and the old answer is gone.
        page.evaluate(drop, ["x.png", [1, 2, 3]])
        page.locator("#status.error").wait_for()
        assert "cannot be read" in page.locator("#status").text_content()
        assert not page.locator("#answer").is_visible()
    assert said == []
