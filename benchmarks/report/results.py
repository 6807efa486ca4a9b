"""A result folder, read once for the whole report: its table of runs, its manifest, its run folders."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.columns import COLUMNS, KEYS, LABELS, REQUIRED
from benchmarks.results import run_folder


@dataclass(frozen=True)
class Results:
    """What a result folder holds; ``rows`` has a row a run, NaN where nothing was measured."""

    folder: Path
    rows: pd.DataFrame
    manifest: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The settings of the runs."""
        return self.manifest.get("config") or {}

    @property
    def sets(self) -> list[str]:
        """The sets with a run, in the order of the settings; the rest follows."""
        return self._ran("set", (self.config.get("data") or {}).get("categories") or [])

    @property
    def models(self) -> list[str]:
        """The models with a run, in the order of the settings; the rest follows."""
        return self._ran("model", self.config.get("models") or [])

    @property
    def complete(self) -> list[str]:
        """The models that ran on every set with all of their seeds: else a mean is over other runs on other sets."""
        ran = self.rows.groupby("model")["seed"].agg(["size", "nunique"])
        return [name for name in self.models if ran["size"][name] == len(self.sets) * ran["nunique"][name]]

    def _ran(self, column: str, names: Iterable[str]) -> list[str]:
        ran = dict.fromkeys(self.rows[column])
        return [name for name in dict.fromkeys([*names, *ran]) if name in ran]

    def of(self, set_name: str, model: str) -> pd.DataFrame:
        """Return the runs of a model on a set, by seed."""
        rows = self.rows[(self.rows["set"] == set_name) & (self.rows["model"] == model)]
        return rows.set_index("seed").sort_index()

    def run(self, set_name: str, model: str, seed: int) -> Path:
        """Return the folder of a run, which need not be there."""
        return run_folder(self.folder, set_name, model, seed)


def read_results(folder: Path) -> Results:
    """Read a result folder; a missing manifest counts as an empty one.

    Raises:
        ValueError: If the folder or its ``runs.csv`` is missing, empty or malformed, or the manifest is no JSON object.
    """
    if not folder.is_dir():
        msg = f"There is no result folder {folder}: give the one that `python -m benchmarks run` wrote."
        raise ValueError(msg)
    return Results(folder, _rows(folder / "runs.csv"), _manifest(folder / "manifest.json"))


def _rows(path: Path) -> pd.DataFrame:
    rows = read_csv(path, REQUIRED)
    rows = rows.reindex(columns=rows.columns.union(COLUMNS, sort=False), fill_value="")
    if rows.empty:
        msg = f"{path} holds no run: wait until one is finished, or run `python -m benchmarks run` again."
        raise ValueError(msg)
    for column in ["seed", *LABELS]:
        rows[column] = _numbers(path, rows[column])
    rows["seed"] = rows["seed"].astype(int)
    if rows.duplicated(KEYS).any():
        twice = ", ".join(map(str, rows.loc[rows.duplicated(KEYS), KEYS].iloc[0]))
        msg = f"{path} holds the run {twice} twice: keep one of the two rows."
        raise ValueError(msg)
    return rows


def read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV as text, so that a set named ``1`` or ``NA`` keeps its name.

    Raises:
        ValueError: If it is missing, no CSV, or lacks a column.
    """
    if not path.is_file():
        msg = f"There is no {path}: give a folder that `python -m benchmarks run` wrote."
        raise ValueError(msg)
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        msg = f"{path} is no table of comma-separated values ({error}): restore it or make it anew.".replace("\n", " ")
        raise ValueError(msg) from error
    if missing := [column for column in columns if column not in rows]:
        msg = f"{path} lacks the columns {', '.join(missing)}, it has {', '.join(rows)}: restore it or make it anew."
        raise ValueError(msg)
    return rows


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column.replace("", None), errors="coerce")
    wrong = numbers.isna() & ((column != "") | (column.name == "seed"))
    if column.name == "seed":
        wrong |= numbers % 1 != 0
    if wrong.any():
        kind = "a whole number" if column.name == "seed" else "a number or nothing"
        msg = f"{path} has '{column[wrong].iloc[0]}' in the column {column.name}, expected {kind}: correct that row."
        raise ValueError(msg)
    return numbers


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} is no JSON ({error}): restore it, or move it away to report without it."
        raise ValueError(msg) from error
    if not isinstance(manifest, dict):
        msg = f"{path} holds a {type(manifest).__name__}, expected an object: restore it, or move it away."
        raise ValueError(msg)
    return manifest
