"""The report as a whole: tables, verdicts, intervals, and names that stay text."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.report import write_report
from tests.benchmarks.made_results import HOSTILE, write_results

CLAIMS = (
    {"claim": "a model beats a bad one", "better": "stcm", "worse": "statistic", "measure": "aupro"},
    {"claim": "a bad one beats a model", "better": "statistic", "worse": "stcm", "measure": "aupro"},
)


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


def test_advice_comes_first(folder: Path) -> None:
    first = (folder / "report.md").read_text().split("\n\n")[1]
    assert first.startswith("To tell good images from bad ones, take ")
    assert f"</h1><p>{first}</p>" in (folder / "report.html").read_text()


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
