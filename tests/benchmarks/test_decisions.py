"""Decisions by hand, and AUPIMO of ranks beside AUPIMO of plain maps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anomalib.metrics import AUPIMO

from benchmarks.columns import ACCURACY, DECISIONS
from benchmarks.decisions import aupimo, decisions, figures
from benchmarks.measures import FIELDS, measured
from benchmarks.predictions import Predictions
from benchmarks.thresholds import Thresholds

SCORES = np.array([9.0, 5.0, 2.0, 6.0, 3.0, 1.0, 0.0])
LABELS = np.arange(7) < 3
MASKS = np.zeros((7, 8, 8), dtype=bool)
MASKS[LABELS, :2, :4] = True
MAPS = 10 * MASKS.astype(np.float32)
MAPS[1] /= 2  # above the threshold of pixels no more
MAPS[4, 0, 0] = 7  # a speck on a good image
THRESHOLDS = Thresholds(4.0, 6.0, 6.0, 7.0)


def predictions(thresholds: Thresholds = THRESHOLDS, images: int = 7) -> Predictions:
    """What a model says of three defective and up to four good images."""
    labels, masks, scores, maps = (array[:images] for array in (LABELS, MASKS, SCORES, MAPS))
    return Predictions(["x.png"] * images, [""] * images, labels, masks, scores, maps, thresholds=thresholds)


def test_decisions_by_hand() -> None:
    row = decisions(predictions())
    assert row["recall"] == pytest.approx(2 / 3)
    assert (row["false_alarms"], row["good_images"], row["false_masks"]) == (1 / 4, 4, 1 / 4)
    assert row["image_f1_host"] == pytest.approx(2 * 1 / (2 * 1 + 2))  # one hit, two misses
    assert row["image_f1_best"] == pytest.approx(2 * 3 / (2 * 3 + 2))  # all above 1.5, or two of three above 4: less
    assert row["pixel_f1"] == pytest.approx(2 * 16 / (2 * 16 + 1 + 8))
    assert row["pixel_f1_host"] == pytest.approx(2 * 16 / (2 * 16 + 8))
    assert row["pixel_f1_best"] == pytest.approx(2 * 24 / (2 * 24 + 1))
    assert row["pg2"] == pytest.approx(2 / 4)  # 2 and next to nothing more is what all but 2 % of defects exceed
    assert row["pb2"] == pytest.approx(1 / 3)  # 5.8 is what all but 2 % of good images stay below


def test_all_columns_are_there() -> None:
    assert set(figures(predictions())) == {*ACCURACY, *DECISIONS}


def test_without_thresholds_what_needs_one_is_undefined() -> None:
    row = figures(predictions(Thresholds()))
    undefined = {"image_f1", "image_f1_host", "recall", "false_alarms", "pixel_f1", "pixel_f1_host", "false_masks"}
    assert {name for name, value in row.items() if np.isnan(value)} == undefined | {"aupimo"}  # of too few pixels


def test_without_good_images_there_are_no_false_alarms() -> None:
    row = decisions(predictions(images=3))
    assert row["recall"] == pytest.approx(2 / 3)
    assert row["good_images"] == 0
    assert all(np.isnan(row[name]) for name in ("false_alarms", "false_masks", "image_f1_best", "pg2", "pb2", "aupimo"))


@pytest.mark.parametrize("transform", [np.positive, np.exp])
def test_aupimo_is_that_of_anomalib_whatever_the_scale(transform: np.ufunc) -> None:
    random = np.random.default_rng(0)
    masks = np.zeros((12, 200, 200), dtype=bool)
    masks[:6, 50:90, 60:100] = True
    maps = random.normal(size=masks.shape) + masks * random.uniform(2, 6, (12, 1, 1))
    expected = measured(AUPIMO(fields=FIELDS, num_thresholds=30_000), maps, masks)
    assert 0.1 < expected < 0.9
    assert aupimo(transform(maps).astype(np.float32), masks) == pytest.approx(expected, abs=0.01)


def test_aupimo_of_a_constant_map_is_undefined() -> None:
    masks = np.zeros((4, 200, 200), dtype=bool)
    masks[0, :9, :9] = True
    assert np.isnan(aupimo(np.ones(masks.shape), masks))


def test_thresholds_are_written_beside_the_scores(tmp_path: Path) -> None:
    predictions().save(tmp_path)
    table = pd.read_csv(tmp_path / "images.csv")
    names = ["image_threshold", "pixel_threshold", "host_image_threshold", "host_pixel_threshold"]
    assert table.loc[6, ["score", *names]].tolist() == [0, 4, 6, 6, 7]
