"""Paired differences: nothing between equals, above zero for the better, and about the same images only."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.bootstrap import MEASURES, Interval, draws, paired_difference, pooled_difference
from benchmarks.measures import accuracy
from benchmarks.regions import Regions

IMAGES, SIDE = 20, 24
LABELS = np.arange(IMAGES) % 2 == 1
MASKS = np.zeros((IMAGES, SIDE, SIDE), dtype=bool)
MASKS[LABELS, 6:12, 8:16] = True


def run(folder: Path, gain: float, seed: int = 0, name: str = "image") -> Path:
    """A run folder of a model that sees defects as well as the gain lets it, beside noise."""
    folder.mkdir(parents=True)
    random = np.random.default_rng([seed, round(100 * gain)])
    scores = gain * LABELS + random.normal(size=IMAGES)
    table = {
        "path": [f"test/good/{name}{i}.png" for i in range(IMAGES)],
        "mask": "",
        "label": LABELS.astype(int),
        "score": scores,
    }
    pd.DataFrame(table).assign(threshold=0.5).to_csv(folder / "images.csv", index=False)
    Regions.of(maps(gain, seed), MASKS).save(folder / "regions.npz")
    return folder


def maps(gain: float, seed: int = 0) -> np.ndarray:
    """The maps of a run."""
    return gain * MASKS + np.random.default_rng([seed, round(100 * gain)]).normal(size=MASKS.shape)


def runs(folder: Path, gain: float, seeds: int = 2, name: str = "image") -> list[Path]:
    """The runs of a model, one a seed."""
    return [run(folder / f"seed{seed}", gain, seed, name) for seed in range(seeds)]


@pytest.mark.parametrize("measure", MEASURES)
def test_equals_differ_by_nothing(measure: str, tmp_path: Path) -> None:
    same = runs(tmp_path, 1.0)
    assert paired_difference(same, same, measure, resamples=50) == Interval(0, 0, 0)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_better_is_above_zero_and_the_worse_below(measure: str, tmp_path: Path) -> None:
    good, bad = runs(tmp_path / "good", 4.0), runs(tmp_path / "bad", 0.3)
    found = paired_difference(good, bad, measure, resamples=200)
    assert 0 < found.low < found.value < found.high
    assert paired_difference(bad, good, measure, resamples=200) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )


def test_the_value_is_that_of_the_accuracy(tmp_path: Path) -> None:
    good, bad = runs(tmp_path / "good", 1.5, 1), runs(tmp_path / "bad", 0.5, 1)
    rows = []
    for folder, gain in ((good[0], 1.5), (bad[0], 0.5)):
        scores = pd.read_csv(folder / "images.csv")["score"].to_numpy()
        rows.append(accuracy(scores, LABELS, 0.5, maps(gain), MASKS))
    for measure in MEASURES:
        found = paired_difference(good, bad, measure, resamples=10)
        assert found.value == pytest.approx(rows[0][measure] - rows[1][measure], abs=1e-3)


def test_a_redrawn_image_counts_as_often_as_it_was_drawn(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", 1.0)
    weights = draws(LABELS, 5, np.random.default_rng(0))
    scores = pd.read_csv(folder / "images.csv")["score"].to_numpy()
    for measure in ("image_auroc", "image_ap"):
        repeated = [
            accuracy(scores[i], LABELS[i], 0.5, MASKS[i].astype(float), MASKS[i])[measure]
            for i in (np.repeat(np.arange(IMAGES), row) for row in weights)
        ]
        assert MEASURES[measure](folder, weights) == pytest.approx(np.array(repeated), abs=1e-5)


def test_draws_keep_the_number_of_each_kind() -> None:
    labels = np.array([1, 1, 1, 0, 0])
    weights = draws(labels, 100, np.random.default_rng(0))
    assert (weights[0] == 1).all()
    assert (weights[:, labels == 1].sum(axis=1) == 3).all()
    assert (weights[:, labels == 0].sum(axis=1) == 2).all()
    assert weights[1:].mean(axis=0) == pytest.approx(np.ones(5), abs=0.3)


def test_one_seed_gives_one_interval(tmp_path: Path) -> None:
    pair = runs(tmp_path / "good", 1.5), runs(tmp_path / "bad", 0.5)
    assert paired_difference(*pair, "aupro", 100) == paired_difference(*pair, "aupro", 100)
    assert paired_difference(*pair, "aupro", 100).low != paired_difference(*pair, "aupro", 100, seed=1).low


def test_sets_are_pooled_by_their_mean(tmp_path: Path) -> None:
    first = runs(tmp_path / "1g", 2.0), runs(tmp_path / "1b", 0.5)
    second = runs(tmp_path / "2g", 1.0, name="other"), runs(tmp_path / "2b", 0.9, name="other")
    found = pooled_difference({"first": first, "second": second}, "image_auroc", 200)
    alone = [paired_difference(*pair, "image_auroc", 200) for pair in (first, second)]
    assert found.value == pytest.approx((alone[0].value + alone[1].value) / 2)
    assert found.high - found.low < max(each.high - each.low for each in alone)


def test_without_defects_the_difference_is_undefined(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", 1.0)
    table = pd.read_csv(folder / "images.csv")
    table.assign(label=0).to_csv(folder / "images.csv", index=False)
    assert np.isnan(paired_difference([folder], [folder], "image_auroc", 10)).all()


def test_a_set_may_have_moved(tmp_path: Path) -> None:
    here, there = run(tmp_path / "here", 1.0), run(tmp_path / "there", 1.0)
    table = pd.read_csv(there / "images.csv")
    table.assign(path="/elsewhere/" + table["path"]).to_csv(there / "images.csv", index=False)
    assert paired_difference([here], [there], "aupro", 10) == Interval(0, 0, 0)


def test_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    one, other = runs(tmp_path / "one", 1.0), runs(tmp_path / "other", 1.0, name="other")
    with pytest.raises(ValueError, match="do not hold the same images"):
        paired_difference(one, other, "aupro")
    with pytest.raises(ValueError, match="2 runs against 1"):
        paired_difference(one, one[:1], "aupro")
    with pytest.raises(ValueError, match="'image_f1' has no interval, expected one of image_auroc"):
        paired_difference(one, one, "image_f1")
