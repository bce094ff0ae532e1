"""fastlanczos/report/page.py: the page in a browser, and what is in it."""

import json
import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("plotly")

import fastlanczos.torch as flt
from fastlanczos.report.folder import read
from fastlanczos.report.page import write_page

torch = pytest.importorskip("torch")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two tracked runs, one of them with a name that HTML would trip over."""
    place = tmp_path_factory.mktemp("runs")
    for name, width in (("a <!--<script> <b>", 4), ("b", 6)):
        torch.manual_seed(0)
        model = torch.nn.Linear(width, 3)
        data = (torch.randn(30, width), torch.randint(3, (30,)))
        H = flt.HessianOperator(model, torch.nn.functional.cross_entropy, data)
        where = place / name.replace("/", "_") if "/" in name else place / name
        tracker = flt.SpectrumTracker(H, 10, where, k=3, num_probes=2, num_steps=8)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        tracker.measure()
        for _ in range(20):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(data[0]), data[1]).backward()
            optimizer.step()
            tracker.step()
    return place


def test_the_page_holds_the_data_and_asks_no_one_for_more(folder):
    page = write_page(folder).read_text(encoding="utf-8")
    text = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1]
    assert "<" not in text
    data = json.loads(text)
    assert [run["name"] for run in data["runs"]] == [run.name for run in read(folder).runs]
    assert [len(run["measurements"]) for run in data["runs"]] == [3, 3]
    template = page.replace(page[page.index("<script>") : page.rindex("<script>")], "")
    assert not re.search(r'(src|href)="(?!data:)', template)


def test_a_report_on_records_needs_no_torch(folder, tmp_path):
    program = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise ImportError('there is no torch here')\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from fastlanczos.cli import main\n"
        f"sys.exit(main(['report', {str(folder)!r}, '--output', {str(tmp_path / 'page.html')!r}])"
        f" or main(['report', {str(folder)!r}, '--png', '--output', {str(tmp_path / 'figures')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size > 10**6
    assert list((tmp_path / "figures").iterdir())


def test_a_folder_without_measurements_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no measurements: give the directory= of a SpectrumTracker"):
        write_page(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_page(tmp_path / "none")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as tool:
        chromium = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_in_a_browser(folder, browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else problems.append(request.url)
    )
    page.goto(write_page(folder).as_uri())
    page.wait_for_selector("#density-left .scatterlayer path")

    assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing to scroll sideways
    assert page.locator(".plot").evaluate_all("all => all.every(p => p.getBoundingClientRect().right <= innerWidth)")
    size = page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")
    assert size >= 16
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")

    # The slider, by the keyboard, moves the curve and says where it is.
    curve = "document.querySelector('#density-left .scatterlayer .js-line').getAttribute('d')"
    seen = {page.locator("#step-value").inner_text(): page.evaluate(curve)}
    page.locator("#step").focus()
    for key in ("Home", "End"):
        page.keyboard.press(key)
        seen[page.locator("#step-value").inner_text()] = page.evaluate(curve)
    assert set(seen) == {"0", "10", "20"}
    assert len(set(seen.values())) == 3
    assert "at step 20" in page.locator("#density-left").get_attribute("aria-label")

    # Another run on the right.
    before = page.locator("#caption-right").inner_text()
    page.locator("#right").select_option(index=0)
    assert page.locator("#caption-right").inner_text() != before
    assert page.locator("#caption-right").inner_text() == page.locator("#caption-left").inner_text()
    assert problems == []
    page.close()
