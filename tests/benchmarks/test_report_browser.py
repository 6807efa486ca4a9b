"""The page in a real browser: tables sort, pictures show, names are no markup."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bootstrap import Interval
from benchmarks.report import differences, write_report
from tests.benchmarks.made_results import HOSTILE, write_results

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--virtual-time-budget=4000", "--dump-dom"),
]
# Clicks every header twice, and writes down what a reader would then see.
PROBE = """
window.addEventListener("load", () => {
  const columns = [];
  document.querySelectorAll("table.sortable").forEach((table) => {
    Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
      const seen = () => Array.from(table.tBodies[0].rows, (row) => row.cells[column])
        .map((cell) => "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent);
      for (let click = 0; click < 2; click += 1) {
        header.firstChild.click();
        columns.push({
          sort: header.getAttribute("aria-sort"),
          marked: table.querySelectorAll("th[aria-sort]").length,
          cells: seen(),
        });
      }
    });
  });
  const found = {
    columns,
    tables: document.querySelectorAll("table.sortable").length,
    broken: Array.from(document.images).filter((image) => !(image.naturalWidth > 0)).length,
    images: document.images.length,
    foreign: document.querySelectorAll("[onerror], img[src='x']").length,
    hostile: Array.from(document.querySelectorAll("code"), (code) => code.textContent),
    alerted: window.alerted ?? 0,
    wider: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  };
  const pre = document.createElement("pre");
  pre.id = "found";
  pre.textContent = btoa(JSON.stringify(found).replace(/[^ -~]/g, "?"));
  document.body.append(pre);
});
"""
CLAIM = {"claim": "memory <i>beats</i> none", "better": "stcm", "worse": "padim", "measure": "aupro"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Open a made report in a browser, once, and return what the probe saw."""
    if CHROMIUM is None:
        pytest.skip("needs chromium: install your distribution's package")
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "pooled_difference", lambda *_: Interval(0.1, 0.05, 0.2))
        page = write_report(write_results(folder, images=4, claims=(CLAIM,)))[1]
    probed = folder / "probed.html"
    text = page.read_text(encoding="utf-8").replace(
        "<head>", "<head><script>window.alert = () => { alerted = 1 }</script>"
    )
    probed.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    return probe(probed, folder / "profile")


def probe(page: Path, profile: Path) -> dict[str, Any]:
    """Return what the probe in a page wrote."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    written = re.search('<pre id="found">([^<]*)</pre>', dom)
    assert written, "the page's scripts did not run to their end"
    return json.loads(base64.b64decode(written[1]))


def test_every_column_of_every_table_sorts_both_ways(found: dict[str, Any]) -> None:
    assert found["tables"] == 8  # claims, means, decisions and those by set, two sets, differences, costs
    assert all(column["marked"] == 1 for column in found["columns"])
    for first, second in zip(found["columns"][::2], found["columns"][1::2], strict=True):
        assert {first["sort"], second["sort"]} == {"ascending", "descending"}
        assert sorted(map(str, first["cells"])) == sorted(map(str, second["cells"]))


def test_numbers_sort_by_value_and_dashes_come_last(found: dict[str, Any]) -> None:
    numeric = [column for column in found["columns"] if any(isinstance(cell, float) for cell in column["cells"])]
    assert len(numeric) > 50
    for column in numeric:
        kinds = [isinstance(cell, (int, float)) for cell in column["cells"]]
        numbers = [cell for cell in column["cells"] if not isinstance(cell, str)]
        assert kinds == sorted(kinds, reverse=True)
        assert numbers == sorted(numbers, reverse=column["sort"] == "descending")


def test_every_picture_shows(found: dict[str, Any]) -> None:
    assert found["images"] == 2 * 4 * 7 - 2 * 7  # with two defects a set there is no median one
    assert found["broken"] == 0


def test_a_hostile_name_is_shown_and_does_nothing(found: dict[str, Any]) -> None:
    assert f"crack/{HOSTILE}" in found["hostile"]
    assert (found["foreign"], found["alerted"]) == (0, 0)


def test_the_page_is_no_wider_than_its_window(found: dict[str, Any]) -> None:
    assert not found["wider"]
