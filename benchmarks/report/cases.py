"""The test cases worth looking at: those a model ranks best, in the middle and worst, and its worst false alarm."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.report.results import Results, read_csv

RUN_FILES = ("images.csv", "maps.npz")
HIGHEST = 0.999  # the quantile of a model's map values over a set that is shown brightest: single pixels do not count


class Case(NamedTuple):
    """A test image, and why it is shown."""

    title: str
    path: str
    mask: str
    defect: bool
    caption: str


class Outputs(NamedTuple):
    """What a model found on a set: maps (N, h, w), reconstructions (N, h, w, 3) or None, in the order of ``paths``."""

    paths: list[str]
    maps: np.ndarray
    reconstructions: np.ndarray | None
    low: float
    high: float


def run_folders(results: Results, set_name: str) -> dict[str, Path]:
    """Return the folder of every model's run with the first model's first seed, where its files are there."""
    seeds = [seed for model in results.models for seed in results.of(set_name, model).index]
    folders = {model: results.run(set_name, model, seeds[0]) for model in results.models}
    return {name: path for name, path in folders.items() if all((path / file).is_file() for file in RUN_FILES)}


def read_images(folder: Path) -> pd.DataFrame:
    """Read the test images of a run, with labels and scores as numbers."""
    images = read_csv(folder / "images.csv", ["path", "mask", "label", "score"])
    return images.astype({"label": int, "score": float})


def read_outputs(folder: Path) -> Outputs:
    """Read the maps of a run, and what they are scaled by."""
    with np.load(folder / "maps.npz") as arrays:
        maps = arrays["maps"].astype(np.float32)
        reconstructions = arrays.get("reconstructions")
    return Outputs(
        list(read_images(folder)["path"]), maps, reconstructions, float(maps.min()), float(np.quantile(maps, HIGHEST))
    )


def choose_cases(images: pd.DataFrame) -> list[Case]:
    """Choose defects by their score, and the normal image with the highest; fewer where there are fewer.

    Among the same normal images a higher score is a better rank, so the rank need not be computed to choose.
    """
    defects, normals = (images[images["label"] == label].sort_values("score", kind="stable") for label in (1, 0))
    chosen = {len(defects) // 2: "median", len(defects) - 1: "best", 0: "worst"} if len(defects) else {}
    places = sorted(chosen, reverse=True)
    cases = [_case(f"{chosen[place]} defect", defects.iloc[place], normals, "normal") for place in places]
    if len(normals):
        cases.append(_case("worst false alarm", normals.iloc[-1], defects, "defect"))
    return cases


def _case(title: str, row: pd.Series, others: pd.DataFrame, kind: str) -> Case:
    caption = f"score {row['score']:.4g}"
    if len(others):
        caption += f", above {100 * (others['score'] < row['score']).mean():.0f} % of the {kind} images"
    return Case(title, row["path"], row["mask"], bool(row["label"]), caption)
