"""Decisions and advice of a report: by hand, and with older tables that have less."""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import tostring

import pandas as pd
import pytest
from scipy.stats import binomtest

from benchmarks.columns import COLUMNS, DECISIONS
from benchmarks.report import write_report
from benchmarks.report.advice import NO_TIMES, NONE, advice
from benchmarks.report.cells import Table
from benchmarks.report.decisions import BY_SET, binomial_interval, decision_tables
from benchmarks.report.decisions import COLUMNS as TITLES
from benchmarks.report.page import latency_plots
from benchmarks.report.results import Results
from tests.benchmarks.made_results import write_results


def made(*runs: dict[str, Any], rate: float = 0.05) -> Results:
    """Results of runs, of set a and model m with seed 0 where they do not say."""
    rows = [{"set": "a", "model": "m", "seed": 0, **run} for run in runs]
    return Results(Path(), pd.DataFrame(rows).reindex(columns=COLUMNS), {"config": {"false_alarm_rate": rate}})


def column(table: Table, title: str) -> list[str]:
    """The texts of a column."""
    return [row[table.columns.index(title)].text for row in table.rows]


def test_f1_is_compared_with_the_best_run_by_run() -> None:
    first = {"image_f1": 0.4, "image_f1_best": 0.8, "pixel_f1": 0.3, "pixel_f1_best": 0.4}
    second = {"image_f1": 0.9, "image_f1_best": 0.9, "pixel_f1": 0.1, "pixel_f1_best": 0.4}
    means, by_set = decision_tables(made(first, {**second, "seed": 1}, {**second, "set": "b"}))
    assert column(by_set, TITLES["image_of_best"]) == ["0.750", "1.000"]
    assert column(by_set, TITLES["pixel_of_best"]) == ["0.500", "0.250"]
    assert column(means, TITLES["image_of_best"]) == ["0.875"]
    assert column(means, TITLES["lowest_of_best"]) == ["0.750"]


def test_false_alarms_are_pooled_over_sets_not_over_seeds() -> None:
    few, many = {"false_alarms": 0.5, "good_images": 10}, {"false_alarms": 0.1, "good_images": 90, "set": "b"}
    table = decision_tables(made(few, {**few, "seed": 1, "false_alarms": 0.3}, many))[0]
    ends = "{:.3f} to {:.3f}".format(*binomtest(13, 100).proportion_ci(method="exact"))
    assert column(table, "false alarms") == [f"0.130 ({ends}), 13 of 100"]


@pytest.mark.parametrize(("rate", "strong"), [(0.05, False), (0.1, True)])
def test_the_stated_rate_is_held_where_the_interval_has_it(rate: float, strong: bool) -> None:
    table = decision_tables(made({"false_alarms": 0.13, "good_images": 100}, rate=rate))[0]
    assert table.rows[0][table.columns.index("false alarms")].strong is strong
    assert f"stated rate of {rate:g}." in table.note


@pytest.mark.parametrize(("count", "total"), [(0, 30), (3, 30), (30, 30)])
def test_the_interval_is_that_of_scipy(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci(method="exact")
    assert binomial_interval(count, total) == pytest.approx((expected.low, expected.high))


def test_an_older_table_shows_dashes_or_nothing() -> None:
    by_set = decision_tables(made({"image_f1": 0.5}))[1]
    assert [cell.text for cell in by_set.rows[0]] == ["a", "m", "0.500", *["-"] * (len(BY_SET) - 1)]
    assert decision_tables(made({"image_auroc": 0.5})) == []


def test_an_older_file_is_still_reported(tmp_path: Path) -> None:
    folder = write_results(tmp_path, sets=("tiles",), seeds=(0,), images=4)
    table = pd.read_csv(folder / "runs.csv")
    table.drop(columns=list(DECISIONS)).to_csv(folder / "runs.csv", index=False)
    assert "## Decisions" in write_report(folder)[0].read_text(encoding="utf-8")


BEST = {"model": "best", "image_auroc": 0.9, "aupro": 0.7, "train_s": 90.2, "latency_ms": 20.0}
FAST = {"model": "fast", "image_auroc": 0.8, "aupro": 0.75, "train_s": 7.0, "latency_ms": 25.04}


def test_advice_names_the_best_and_the_fastest() -> None:
    rows = [{**run, "set": name} for run in (BEST, FAST) for name in "ab"]
    bar = [{"set": name, "model": "statistic", "image_auroc": 1.0, "aupro": 1.0} for name in "ab"]
    partial = {"model": "partial", "image_auroc": 1.0, "aupro": 1.0, "train_s": 1.0, "latency_ms": 1.0}
    assert advice(made(*rows, *bar, partial)) == (
        "To tell good images from bad ones, take best: its image AUROC is the highest, 0.900 in the mean over 2 sets, "
        "before fast (0.800). "
        "To see where a defect is, take fast: its AUPRO 0.3 is the highest, 0.750 in the mean over 2 sets, "
        "before best (0.700). "
        "Where time is short: fast trains fastest (7 s) and best answers fastest (20.0 ms an image)."
    )


def test_advice_says_who_is_equal() -> None:
    rows = [{"set": "a", "model": name, "seed": 0, "image_auroc": 0.5, "aupro": 0.25} for name in ("m", "n")]
    assert "is the highest, 0.500 on a, the same as that of n. " in advice(made(*rows))


def test_advice_takes_the_first_of_those_that_are_equal() -> None:
    rows = [{"set": "a", "model": name, "seed": 0, "image_auroc": auroc} for name, auroc in (("m", 0.9), ("n", 0.9004))]
    assert "take m: its image AUROC is the highest, 0.900 on a, the same as that of n. " in advice(made(*rows))


def test_advice_is_not_to_train_on_defects() -> None:
    rows = [{"set": "a", "model": name, "image_auroc": auroc} for name, auroc in (("m", 0.8), ("m_10", 0.9))]
    found = made(*rows)
    found.config["models"] = {"m": {}, "m_10": {"contamination": 0.1}}
    assert "take m: " in advice(found)


def test_a_mean_over_other_runs_is_not_compared() -> None:
    sets = [{"set": name, "seed": seed, "image_auroc": 0.8} for name in ("a", "b") for seed in (0, 1)]
    uneven = [{**run, "model": "n", "image_auroc": 0.9} for run in sets[:3]]
    bar = [{**run, "model": "statistic"} for run in sets[::2]]
    assert made(*sets, *uneven, *bar).complete == ["m", "statistic"]


def test_advice_counts_the_sets_that_have_a_figure() -> None:
    """A set without masks has no AUPRO."""
    told = advice(made({"image_auroc": 0.5, "aupro": 0.25}, {"set": "b", "image_auroc": 0.5}))
    assert "0.500 in the mean over 2 sets" in told
    assert "0.250 on a" in told


def test_accuracy_against_latency_is_of_models_that_ran_on_every_set() -> None:
    rows = [{**run, "set": name} for run in (BEST, FAST) for name in "ab"]
    page = b"".join(map(tostring, latency_plots(made(*rows, {**BEST, "model": "partial"}))))
    assert b">best<" in page
    assert b">partial<" not in page


def test_advice_on_one_model_and_on_none() -> None:
    alone = advice(made({"image_auroc": 0.5, "aupro": 0.25}))
    assert alone.startswith("To tell good images from bad ones, take m: its image AUROC is the highest, 0.500 on a. ")
    assert alone.endswith(NO_TIMES)
    assert advice(made({"set": "a", "model": "m"}, {"set": "b", "model": "n"})) == NONE
