"""The table of all finished runs."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.columns import COLUMNS


def run_folder(output: Path, category: str, model: str, seed: int) -> Path:
    """Return the folder of one run."""
    return output / "runs" / category / model / f"seed{seed}"


def write_table(output: Path) -> None:
    """Write ``runs.csv`` from the rows of all finished runs, or leave the old one where anything fails."""
    rows = [json.loads(path.read_text()) for path in sorted(finished(output / "runs"))]
    table = pd.DataFrame(rows, columns=COLUMNS).round(5)
    write_atomically(output / "runs.csv", table.to_csv(index=False))


def finished(folder: Path) -> Iterator[Path]:
    """Yield ``row.json`` of every finished run; other runs may come, and their folders go, meanwhile."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(".partial")]
        if "row.json" in files:
            yield Path(place) / "row.json"


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
