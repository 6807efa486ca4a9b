"""The report: the same tables in Markdown and HTML, and a page that works in a browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.report import write_report
from tests.benchmarks.made_results import HOSTILE, QUALITY, write_results

CLAIMS = (
    {"claim": "a model beats a bad one", "better": "stcm", "worse": "statistic", "measure": "aupro"},
    {"claim": "a bad one beats a model", "better": "statistic", "worse": "stcm", "measure": "aupro"},
)
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("background-networking", "component-update", "sync", "quic")
# Clicks every header of every table twice and leaves what it saw in the title.
PROBE = """<script>
const seen = [];
let numbers = 0;
for (const table of document.querySelectorAll("table.sortable")) {
  numbers += table.querySelectorAll("td[data-value]").length;
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    for (const order of [0, 1]) {
      header.querySelector("button").click();
      const cells = Array.from(table.tBodies[0].rows, (row) => row.cells[column]);
      const keys = cells.map((cell) => "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent);
      const rising = header.getAttribute("aria-sort") === "ascending";
      const pairs = keys.slice(1).map((key, i) => rising ? [keys[i], key] : [key, keys[i]]);
      seen.push(pairs.every(([a, b]) => typeof a === "number" && typeof b === "number" ? a <= b : true));
    }
  });
}
const pictures = Array.from(document.images, (image) => image.complete && image.naturalWidth > 0);
document.title = JSON.stringify({sorted: seen.every(Boolean), headers: seen.length, numbers: numbers,
  pictures: pictures.length, shown: pictures.every(Boolean),
  outside: document.querySelectorAll("img[onerror]").length});
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made result folder with its report."""
    folder = write_results(tmp_path_factory.mktemp("report") / "results", claims=CLAIMS)
    write_report(folder)
    return folder


def test_markdown_holds_every_mean(folder: Path) -> None:
    text, runs = (folder / "report.md").read_text(), pd.read_csv(folder / "runs.csv")
    for _, found in runs.groupby(["set", "model"]):
        assert f"{found['aupro'].mean():.3f} ± {found['aupro'].std():.3f}" in text


def test_claims_get_their_verdicts(folder: Path) -> None:
    rows = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("| a ")]
    verdicts = {row.split("|")[1].strip(): row.split("|")[-2].strip() for row in rows}
    assert verdicts == {"a model beats a bad one": "holds", "a bad one beats a model": "fails"}


def test_the_statistic_is_said_to_be_chosen_in_hindsight(folder: Path) -> None:
    for name in ("report.md", "report.html"):
        assert "hindsight" in (folder / name).read_text()


def test_a_difference_without_run_folders_has_no_interval(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results")
    shutil.rmtree(folder / "runs")
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "(-)" in text
    assert "resampling needs images.csv" in text
    assert "No gallery" in (folder / "report.html").read_text()


def test_names_of_files_stay_text(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert HOSTILE not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page


def test_the_page_needs_nothing_else(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|href)="([^#"][^"]*)"', page))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda folder: shutil.rmtree(folder), "There is no result folder"),
        (lambda folder: (folder / "runs.csv").unlink(), "runs.csv"),
        (lambda folder: (folder / "runs.csv").write_text("a,b\n1,2\n"), "runs.csv"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, spoil, cause: str) -> None:
    folder = write_results(tmp_path / "results", sets=("a",), seeds=(0,))
    spoil(folder)
    with pytest.raises(ValueError, match=cause) as raised:
        write_report(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_the_page_works_in_a_browser(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "probe.html"
    page.write_text((folder / "report.html").read_text().replace("</body>", f"{PROBE}</body>"))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", *(f"--disable-{name}" for name in QUIET)]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", dumped.stdout)
    assert title is not None
    found = json.loads(title[1])
    cases, columns = 4, 2 + len(QUALITY) + 1  # image, truth, every model's map, one reconstruction
    assert found.pop("numbers") > 50
    assert found.pop("headers") > 50
    assert found == {"sorted": True, "pictures": 2 * cases * columns, "shown": True, "outside": 0}
