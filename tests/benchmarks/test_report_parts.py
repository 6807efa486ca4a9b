"""The report: its figures by hand, its sentences, and that no text becomes markup."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.bootstrap import Interval
from benchmarks.columns import ACCURACY, COSTS, KEYS
from benchmarks.report import differences, write_report
from benchmarks.report.cases import choose_cases
from benchmarks.report.elements import element, render
from benchmarks.report.markdown import escape
from benchmarks.report.plots import LABEL_GAP, spread
from benchmarks.report.results import read_results
from benchmarks.report.tables import make_tables
from benchmarks.report.thumbnails import SCALE, SIDE, colour_map, shrink_mask
from tests.benchmarks.made_results import HOSTILE, write_results

CLAIM = {"claim": "memory beats none", "better": "stcm", "worse": "padim", "measure": "aupro"}


@pytest.fixture(autouse=True)
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Mapping[str, Any], str]]:
    """Answer every question for an interval with the same one, and keep the questions."""
    asked = []

    def answer(folders: Mapping[str, Any], measure: str) -> Interval:
        asked.append((folders, measure))
        return Interval(0.1, 0.05, 0.2)

    monkeypatch.setattr(differences, "pooled_difference", answer)
    return asked


@pytest.fixture
def table_only(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a folder with nothing but a table of runs: (set, model, seed, image AUROC)."""

    def write(*runs: tuple[str, str, int, float], **manifest: Any) -> Path:
        rows = [dict(zip([*KEYS, "image_auroc"], run, strict=True)) for run in runs]
        pd.DataFrame(rows, columns=[*KEYS, *ACCURACY, *COSTS]).to_csv(tmp_path / "runs.csv", index=False)
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path

    return write


def test_two_files_are_written_whole(tmp_path: Path) -> None:
    markdown, page = write_report(write_results(tmp_path, images=4))
    assert (markdown, page) == (tmp_path / "report.md", tmp_path / "report.html")
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    assert not list(tmp_path.glob("*.partial"))


def test_a_second_report_is_the_same(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_report(write_results(tmp_path, images=4))]
    assert [path.read_bytes() for path in write_report(tmp_path)] == first


def test_mean_deviation_and_best_of_a_set(table_only: Callable[..., Path]) -> None:
    folder = table_only(("a", "x", 0, 0.7), ("a", "x", 1, 0.9), ("a", "y", 0, 0.75))
    x, y = make_tables(read_results(folder)).sets[0].rows
    assert [cell.text for cell in x[:3]] == ["x", "2", "0.800 ± 0.141"]
    assert [cell.text for cell in y[:4]] == ["y", "1", "0.750", "-"]
    assert (x[2].strong, y[2].strong) == (True, False)


def test_mean_over_sets_weighs_sets_not_seeds(table_only: Callable[..., Path]) -> None:
    folder = table_only(("a", "x", 0, 0.6), ("a", "x", 1, 0.6), ("b", "x", 0, 0.9), ("a", "y", 0, 1.0))
    x, y = make_tables(read_results(folder)).means.rows
    assert [cell.text for cell in x[1:4]] == ["2 of 2", "1 to 2", "0.750"]
    assert [cell.text for cell in y[1:4]] == ["1 of 2", "1", "1.000"]
    assert not y[3].strong  # one easy set is no lead


def test_costs_are_medians_and_a_model_without_any_has_no_row(tmp_path: Path) -> None:
    results = read_results(write_results(tmp_path, images=4))
    table = make_tables(results).costs
    assert [row[0].text for row in table.rows] == ["stcm", "padim", "patchcore"]
    latency = results.rows.loc[results.rows["model"] == "stcm", "latency_ms"]
    assert table.rows[0][3].value == pytest.approx(latency.median())


def test_models_come_as_the_settings_have_them(table_only: Callable[..., Path]) -> None:
    runs = [("a", model, 0, 0.5) for model in ("statistic", "padim", "stcm")]
    folder = table_only(*runs, config={"models": {"stcm": {}, "absent": {}, "padim": {}}})
    assert read_results(folder).models == ["stcm", "padim", "statistic"]


def test_sets_come_as_the_settings_have_them(table_only: Callable[..., Path]) -> None:
    runs = [(name, "stcm", 0, 0.5) for name in ("b", "c", "a")]
    folder = table_only(*runs, config={"data": {"categories": ["a", "absent", "b"]}})
    assert read_results(folder).sets == ["a", "b", "c"]


def test_differences_are_paired_by_seed_and_asked_once(tmp_path: Path, bootstrap: list[Any]) -> None:
    write_report(write_results(tmp_path, sets=("a", "b/c"), images=4))
    assert len(bootstrap) == 3 * 3 * 3  # other models, sets and their mean, measures
    runs = tmp_path / "runs" / "b" / "c"
    folders, measure = bootstrap[3 * 3]
    assert folders == {"b/c": tuple([runs / model / f"seed{seed}" for seed in (0, 1)] for model in ("stcm", "padim"))}
    assert measure == "image_auroc"


def test_without_run_folders_differences_have_no_interval(table_only: Callable[..., Path]) -> None:
    folder = table_only(("a", "x", 0, 0.9), ("a", "x", 1, 0.1), ("a", "y", 0, 0.7), config={"models": {"x": {}}})
    table = make_tables(read_results(folder)).differences
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == ["a", "x minus y", "+0.200 (-)", "-", "-"]  # seed 0 only
    assert "images.csv and regions.npz" in table.note
    assert "No gallery" in write_report(folder)[1].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "holds"),
        (-0.2, -0.01, "fails"),
        (-0.1, 0.1, "undecided"),
        (0.0, 0.1, "undecided"),
        (None, None, "-"),
    ],
)
def test_verdict(low: float | None, high: float | None, verdict: str) -> None:
    assert differences.Difference(0.0, low, high).verdict() == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-0.01, 0.01, "holds"), (-0.03, 0.01, "undecided"), (-0.05, -0.03, "fails")]
)
def test_verdict_on_what_is_only_not_to_be_worse(low: float, high: float, verdict: str) -> None:
    claim = differences.Claim("", "a", "b", "aupro", 0.02, "set", differences.Difference(0.0, low, high))
    assert claim.verdict == verdict
    assert claim.expected == "a at most 0.02 below b in AUPRO 0.3"


def test_claims_table(tmp_path: Path) -> None:
    results = read_results(write_results(tmp_path, sets=("a", "b"), images=4, claims=(CLAIM,)))
    table = make_tables(results).claims
    assert table is not None
    assert [row[2].text for row in table.rows] == ["a", "b", "mean over sets"]
    assert [cell.text for cell in table.rows[0]] == [
        "memory beats none",
        "stcm above padim in AUPRO 0.3",
        "a",
        "+0.100 (+0.050 to +0.200)",
        "holds",
    ]


def test_a_claim_on_a_model_that_did_not_run_is_open(table_only: Callable[..., Path]) -> None:
    folder = table_only(("a", "stcm", 0, 0.9), config={"claims": [CLAIM]})
    table = make_tables(read_results(folder)).claims
    assert table is not None
    assert [cell.text for cell in table.rows[0][-2:]] == ["-", "-"]


@pytest.mark.parametrize(
    ("claim", "message"),
    [({"claim": "x", "better": "y"}, "lacks measure, worse"), ({**CLAIM, "measure": "speed"}, "measures speed")],
)
def test_a_wrong_claim_is_told(table_only: Callable[..., Path], claim: dict[str, str], message: str) -> None:
    folder = table_only(("a", "stcm", 0, 0.9), config={"claims": [claim]})
    with pytest.raises(ValueError, match=message):
        write_report(folder)


HEADER = ",".join([*KEYS, *ACCURACY, *COSTS])
EMPTY = "," * (len(ACCURACY) + len(COSTS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "There is no "),
        ("", "no table of comma-separated values"),
        (HEADER, "holds no run"),
        ("set,model\na,b", "lacks the columns seed, image_auroc"),
        (f"{HEADER}\na,b,0,high{EMPTY[1:]}", "has 'high' in the column image_auroc, expected a number"),
        (f"{HEADER}\na,b,{EMPTY}", "has '' in the column seed, expected a whole number"),
        (f"{HEADER}\na,b,0.5{EMPTY}", "has '0.5' in the column seed"),
        (f"{HEADER}\na,b,0{EMPTY}\na,b,0{EMPTY}", "holds the run a, b, 0 twice"),
        (f'{HEADER}\n"a', "no table of comma-separated values"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        write_report(tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "report.md").exists()


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no result folder"):
        write_report(tmp_path / "absent")


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON"), ("[]", "holds a list")])
def test_a_wrong_manifest_is_one_sentence(table_only: Callable[..., Path], text: str, message: str) -> None:
    folder = table_only(("a", "x", 0, 0.9))
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        write_report(folder)


def test_names_that_look_like_nothing_or_numbers_are_kept(table_only: Callable[..., Path]) -> None:
    results = read_results(table_only(("NA", "1", 0, 0.5), ("007", "1", 0, 0.5)))
    assert (results.sets, results.models) == (["NA", "007"], ["1"])


def test_text_stays_text(tmp_path: Path) -> None:
    markdown, page = write_report(write_results(tmp_path, sets=("<b>|x",), images=2, claims=(CLAIM,)))
    assert HOSTILE not in page.read_text(encoding="utf-8")
    assert "&lt;img src=x" in page.read_text(encoding="utf-8")
    lines = markdown.read_text(encoding="utf-8").splitlines()
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in lines if "memory beats" in line)


@pytest.mark.parametrize(("text", "escaped"), [("a|b", r"a\|b"), ("<i>", r"\<i>"), ("a\nb", "a b"), ("x_y", "x_y")])
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_element_keeps_order_and_escapes() -> None:
    made = element("p", "a<b", element("i", "c"), "&", class_="x", title='"')
    assert '<p class="x" title="&quot;">a&lt;b<i>c</i>&amp;</p>' in render(made)


def test_cases_are_by_score() -> None:
    labels, scores = [1, 1, 1, 0, 0, 0, 0], [0.3, 0.9, 0.5, 0.1, 0.2, 0.4, 0.6]
    paths = [f"{score}.png" for score in scores]
    cases = choose_cases(pd.DataFrame({"path": paths, "mask": "", "label": labels, "score": scores}))
    assert [(case.title, case.path) for case in cases] == [
        ("best defect", "0.9.png"),
        ("median defect", "0.5.png"),
        ("worst defect", "0.3.png"),
        ("worst false alarm", "0.6.png"),
    ]
    assert cases[2].caption == "score 0.3, above 50 % of the normal images"
    assert cases[3].caption == "score 0.6, above 67 % of the defect images"


@pytest.mark.parametrize(("defects", "titles"), [(0, []), (1, ["worst defect"]), (2, ["best defect", "worst defect"])])
def test_few_defects_are_shown_once(defects: int, titles: list[str]) -> None:
    images = pd.DataFrame({"path": ["a", "b"], "mask": "", "label": 1, "score": [1.0, 2.0]})[:defects]
    assert [case.title for case in choose_cases(images)] == titles


def test_a_map_runs_over_the_whole_scale_and_is_cut_off_outside() -> None:
    picture = np.asarray(colour_map(np.array([[-5.0, 2.0, 4.0, 99.0]]), 2.0, 4.0, (4, 1)))
    assert (picture[0, [0, 1]] == SCALE[0]).all()
    assert (picture[0, [2, 3]] == SCALE[-1]).all()


def test_a_constant_map_is_dark() -> None:
    assert (np.asarray(colour_map(np.full((3, 3), 7.0), 7.0, 7.0, (3, 3))) == SCALE[0]).all()


def test_a_defect_of_one_pixel_still_shows() -> None:
    mask = np.zeros((1024, 1024), dtype=np.uint8)
    mask[500, 300] = 255
    assert np.asarray(shrink_mask(Image.fromarray(mask), (SIDE, SIDE))).any()


def test_pages_pictures_are_small_and_inside(tmp_path: Path) -> None:
    page = write_report(write_results(tmp_path, sets=("a",), images=8, side=200))[1].read_text(encoding="utf-8")
    assert len(re.findall('<img src="data:', page)) == 4 * (2 + 4 + 1)  # cases; image and truth, maps, a reconstruction
    assert set(re.findall(r'(?:src|href)="(data:|#|[^"]*)', page)) == {"data:", "#"}
    assert set(re.findall(r'width="(\d+)"', page)) == {str(SIDE), "500"}


def test_images_that_moved_are_told(tmp_path: Path) -> None:
    write_results(tmp_path, sets=("a",), images=4)
    (tmp_path / "images").rename(tmp_path / "moved")
    page = write_report(tmp_path)[1].read_text(encoding="utf-8")
    assert page.count("not found") == 3 + 2  # images, masks of the defects; the normal image's is known to be empty


@pytest.mark.parametrize("heights", [[10.0, 50.0], [10.0, 10.0, 12.0], [290.0] * 4])
def test_labels_do_not_meet(heights: list[float]) -> None:
    gaps = np.diff(sorted(spread(heights)))
    assert (gaps >= LABEL_GAP - 1e-9).all()
