"""The table of the weather is read from the runs that measured it."""

import json
from pathlib import Path

import pandas as pd

from benchmarks.report import write_report
from benchmarks.report.markdown import section
from benchmarks.report.weather import weather_table
from tests.benchmarks.made_results import write_results


def write_run(output: Path, set_name: str, seed: int, light: float) -> None:
    """A finished run that measured the weather."""
    folder = output / "runs" / set_name / "m" / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "row.json").write_text(json.dumps({"set": set_name, "model": "m", "seed": seed}))
    rows = [{"kind": "none", "image_auroc": 0.9}, {"kind": "light", "image_auroc": light}]
    pd.DataFrame(rows).assign(aupro=0.5, recall=0.5, false_alarms=0.0).to_csv(folder / "weather.csv", index=False)


def test_the_table_is_a_mean_over_sets_of_the_mean_over_seeds(tmp_path: Path) -> None:
    for set_name, seed, light in (("a", 0, 0.6), ("a", 1, 0.8), ("b", 0, 0.5)):
        write_run(tmp_path, set_name, seed, light)
    found = weather_table(tmp_path)
    assert found is not None
    lines = section(found).splitlines()
    assert lines[2] == "| model | sets | weather | image AUROC | AUPRO 0.3 | recall | false alarms |"
    assert lines[4] == "| m | 2 | none | 0.900 | 0.500 | 0.500 | 0.000 |"
    assert lines[5] == "| m | 2 | light | 0.600 (-0.300) | 0.500 (+0.000) | 0.500 (+0.000) | 0.000 (+0.000) |"


def test_there_is_no_table_without_weather(tmp_path: Path) -> None:
    assert weather_table(tmp_path) is None


def test_the_report_shows_it_and_few_images_of_another_folder(tmp_path: Path) -> None:
    folder, few = write_results(tmp_path / "race", images=2), write_results(tmp_path / "few", images=2)
    write_run(folder, "a", 0, 0.6)
    manifest = json.loads((few / "manifest.json").read_text())
    manifest["config"]["models"] = {"stcm": {"model": "stcm", "normals": 5}}
    (few / "manifest.json").write_text(json.dumps(manifest))
    for path in write_report(folder, few):
        text = path.read_text(encoding="utf-8")
        assert "Weather" in text
        assert "Few images" in text
