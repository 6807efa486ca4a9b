"""The figures of README.md and docs/benchmark.md are those of the committed runs."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.columns import COLUMNS
from benchmarks.readme import PLACES, RACE, TUNED_ON, Place, by_set, overall
from benchmarks.report.results import Results, read_results


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.page.name}-{place.folder.name}")
def test_the_table_is_made_from_the_committed_runs(place: Place) -> None:
    page = place.page.read_text(encoding="utf-8")
    assert page == place.filled(page, place.made())


def test_the_readme_has_the_one_line_of_means() -> None:
    race = read_results(RACE)
    head, _, row = overall(race).splitlines()
    assert row in by_set(race)
    assert head.count("|") == row.count("|")


def test_of_one_set_there_is_no_mean() -> None:
    assert by_set(made(("a", 0.5), ("a", 1.0))).count("\n") == 3


def made(*figures: tuple[str, float]) -> Results:
    """Results of one model: its image AUROC in each run, by set, a set's runs with seeds 0, 1, ..."""
    rows = pd.DataFrame([{"set": name, "model": "m", "image_auroc": x} for name, x in figures])
    rows = rows.assign(seed=rows.groupby("set").cumcount(), aupro=0.25, aupro_05=0.05)
    return Results(Path(), rows.reindex(columns=COLUMNS), {})


def test_a_cell_is_the_mean_over_seeds() -> None:
    assert "| a | .750/.250/.050 |" in by_set(made(("a", 0.5), ("a", 1.0)))


def test_the_last_row_leaves_out_the_sets_that_defaults_were_chosen_on() -> None:
    *_, everything, others = by_set(made(("a", 0.5), ("b", 0.7), *((name, 1.0) for name in TUNED_ON))).splitlines()
    assert everything == "| mean of 4 sets | .800/.250/.050 |"
    assert others == "| mean of 2 sets | .600/.250/.050 |"


def test_a_model_that_lacks_a_set_is_left_out() -> None:
    rows = made(("a", 0.5), ("b", 0.7)).rows
    fewer = Results(Path(), pd.concat([rows, rows[:1].assign(model="n")], ignore_index=True), {})
    assert by_set(fewer).splitlines()[0] == "| set | m |"
