"""The report on a result folder: `write_report` makes ``report.md`` and ``report.html``."""

from pathlib import Path

from benchmarks.report.markdown import markdown
from benchmarks.report.page import page
from benchmarks.report.results import read_results
from benchmarks.report.tables import make_tables
from benchmarks.results import write_atomically

__all__ = ["write_report"]


def write_report(folder: Path, few: Path | None = None) -> tuple[Path, Path]:
    """Write both reports into a result folder and return their paths; what cannot be written is left as it was.

    Args:
        folder: The results.
        few: Results of another folder whose models have their own numbers of normal images; ``None`` for this one.

    Raises:
        ValueError: If a folder, its ``runs.csv`` or its manifest cannot be read; one sentence.
    """
    results = read_results(folder)
    tables = make_tables(results, read_results(few) if few else None)
    texts = {folder / "report.md": markdown(results, tables), folder / "report.html": page(results, tables)}
    for path, text in texts.items():
        write_atomically(path, text)
    return folder / "report.md", folder / "report.html"
