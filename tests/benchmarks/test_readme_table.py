"""The README's figures are those of the committed runs."""

from pathlib import Path

import pandas as pd

from benchmarks.columns import COLUMNS
from benchmarks.readme import END, README, RESULTS, START, table
from benchmarks.report.results import Results, read_results


def test_the_table_is_made_from_the_committed_runs() -> None:
    written = README.read_text(encoding="utf-8").split(START)[1].split(END)[0]
    assert written == table(read_results(RESULTS))


def test_a_cell_is_the_mean_over_seeds() -> None:
    runs = pd.DataFrame(
        {"set": "a", "model": "m", "image_auroc": [0.5, 1.0], "pixel_auroc": [0.25, 0.25], "aupro": [0, 0.1]}
    )
    assert "| a | .750/.250/.050 |" in table(Results(Path(), runs.reindex(columns=COLUMNS), {}))
