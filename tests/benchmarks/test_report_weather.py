"""The table of the weather is read from the runs that measured it."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import weather


def write_run(output: Path, set_name: str, seed: int, light: float) -> None:
    """A finished run that measured the weather."""
    folder = output / "runs" / set_name / "m" / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "row.json").write_text(json.dumps({"set": set_name, "model": "m", "seed": seed}))
    rows = [{"kind": "none", "image_auroc": 0.9}, {"kind": "light", "image_auroc": light}]
    pd.DataFrame(rows).assign(aupro=0.5, recall=0.5, false_alarms=0.0).to_csv(folder / "weather.csv", index=False)


def test_the_table_is_a_mean_over_sets_of_the_mean_over_seeds(tmp_path: Path, monkeypatch, capsys) -> None:
    for set_name, seed, light in (("a", 0, 0.6), ("a", 1, 0.8), ("b", 0, 0.5)):
        write_run(tmp_path, set_name, seed, light)
    monkeypatch.setattr(sys, "argv", ["weather", "--output", str(tmp_path)])
    weather.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| model | weather | image AUROC | AUPRO 0.3 | recall | false alarms |"
    assert lines[4] == "| m | none | 0.900 | 0.500 | 0.500 | 0.000 |"
    assert lines[5] == "| m | light | 0.600 (-0.300) | 0.500 (+0.000) | 0.500 (+0.000) | 0.000 (+0.000) |"


def test_a_folder_without_weather_is_one_sentence(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["weather", "--output", str(tmp_path)])
    with pytest.raises(SystemExit):
        weather.main()
    assert "has a weather.csv: run the benchmark there" in capsys.readouterr().err
