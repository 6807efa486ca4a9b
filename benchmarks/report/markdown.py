"""The report as Markdown: the same tables, no pictures."""

import re

from benchmarks.report.advice import advice
from benchmarks.report.cells import Cell, Table
from benchmarks.report.facts import facts
from benchmarks.report.results import Results
from benchmarks.report.tables import SETS_NOTE, Tables


def markdown(results: Results, tables: Tables) -> str:
    """Return the whole report."""
    parts = [f"# Benchmark: {escape(results.folder.resolve().name)}", escape(advice(results))]
    few = tables.few.table if tables.few else None
    first = (tables.claims, tables.means, *tables.decisions, few, tables.weather, tables.costs)
    parts += [section(table) for table in first if table]
    parts += ["## Sets", escape(SETS_NOTE), *(section(table, "###") for table in tables.sets)]
    parts += [section(table) for table in (tables.differences,) if table]
    parts += ["## How it was made", "\n".join(f"- {escape(name)}: {escape(text)}" for name, text in facts(results))]
    return "\n\n".join(parts) + "\n"


def section(table: Table, level: str = "##") -> str:
    """Return a table under its title, its note after it."""
    lines = [table_line(table.columns), table_line(["---"] * len(table.columns))]
    lines += [table_line([_cell(cell) for cell in row]) for row in table.rows]
    parts = [f"{level} {escape(table.title)}", "\n".join(lines), escape(table.note)]
    return "\n\n".join(part for part in parts if part)


def escape(text: str) -> str:
    """Keep a text from being read as Markdown or HTML, or from ending its line."""
    return " ".join(re.sub(r"([\\`*|<\[])", r"\\\1", text).split())


def table_line(cells: list[str]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return f"**{escape(cell.text)}**" if cell.strong else escape(cell.text)
