"""The plot over the number of normal images shows the means of the runs, and nothing else."""

import sys
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pandas as pd
import pytest

from benchmarks import settings
from benchmarks.columns import COLUMNS
from benchmarks.report import few
from benchmarks.report.results import Results

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Results of the shipped configuration on two sets: PatchCore has .5, I3AD .01 more for every normal image."""
    config = settings.plain(settings.load(settings.CONFIGS / "few.yaml", {}))
    rows = []
    for name, spec in config["models"].items():
        for set_name, offset in (("a", 0.0), ("b", 0.2)):
            gain = 0.01 * spec["normals"] if spec["model"] == "i3ad" else 0.3
            value = 0.2 + gain + offset - 0.1 + 0.02 * spec.get("draw", 0)
            rows.append({"set": set_name, "model": name, "seed": 0, "image_auroc": value, "aupro": value - 0.1})
    return Results(tmp_path, pd.DataFrame(rows, columns=COLUMNS), {"config": config})


def test_curves_are_means_over_sets_and_draws(results: Results) -> None:
    curves = few.few_curves(results)
    found = curves.loc[("ours", 15)]
    assert found["image_auroc"].tolist() == pytest.approx([0.36, 0.35, 0.37])
    assert found["aupro"].tolist() == pytest.approx([0.26, 0.25, 0.27])
    assert curves.loc[("ours", 60)]["image_auroc"].tolist() == pytest.approx([0.8] * 3)


def test_a_set_that_not_all_have_run_on_is_left_out(results: Results) -> None:
    """A curve would jump where the sets of its points are others."""
    rows = results.rows
    without = rows[(rows["set"] != "b") | (rows["model"] != "ours_60_0")]
    curves = few.few_curves(Results(results.folder, without, results.manifest))
    assert curves.loc[("ours", 60)]["image_auroc"]["mean"] == pytest.approx(0.7)
    assert curves.loc[("ours", 15)]["image_auroc"]["mean"] == pytest.approx(0.26)


def test_models_with_other_arguments_are_other_curves() -> None:
    layers = {"like": {"layers": ["a"]}}
    specs = {
        "patchcore_5": {"model": "patchcore", "args": {}, "normals": 5, "draw": 0},
        "patchcore_15": {"model": "patchcore", "args": layers, "normals": 15},
        "patchcore_60": {"model": "patchcore", "args": {}, "normals": 60},
        "layers_5": {"model": "patchcore", "args": {"layers": ["b"]}, "normals": 5},
        "resnet18_10_1": {"model": "padim", "args": {}, "normals": 10, "draw": 1},
    }
    assert few.curve_names(specs) == {
        "patchcore_5": "patchcore_5",
        "patchcore_15": "patchcore_15",
        "patchcore_60": "patchcore_5",
        "layers_5": "layers",
        "resnet18_10_1": "resnet18",
    }


def test_a_curve_rises_where_its_figures_do(results: Results) -> None:
    plotted = few.few_plots(few.few_curves(results))[0]
    rising, level = (line.get("points").split() for line in plotted.iter("polyline"))
    places = [tuple(map(float, corner.split(","))) for corner in rising]
    assert len(places) == len(level) == 4
    assert places == sorted(places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
    assert {"ours", "patchcore", "5", "60"} <= {text.text for text in plotted.iter("text")}


def test_the_command_writes_plots_and_prints_the_table(results: Results, monkeypatch, capsys) -> None:
    monkeypatch.setattr(few, "read_results", lambda folder: results)
    monkeypatch.setattr(sys, "argv", ["few", "--output", str(results.folder)])
    few.main()
    assert "| ours | 15 | 0.360 (0.350 to 0.370) | 0.260 (0.250 to 0.270) |" in capsys.readouterr().out
    for measure in few.PLOTTED:
        assert fromstring((results.folder / f"few_{measure}.svg").read_text()).tag == f"{SVG}svg"


def test_other_results_have_no_curve(results: Results, monkeypatch, capsys) -> None:
    others = Results(results.folder, results.rows, {"config": {"models": {"stcm": {"model": "stcm"}}}})
    assert few.few_curves(others).empty
    monkeypatch.setattr(few, "read_results", lambda folder: others)
    monkeypatch.setattr(sys, "argv", ["few", "--output", "none"])
    with pytest.raises(SystemExit):
        few.main()
    assert "No model in none has its own number of normals" in capsys.readouterr().err
