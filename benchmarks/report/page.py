"""The report as one HTML page that needs nothing else: style, script, plots and pictures are inside."""

from pathlib import Path
from xml.etree.ElementTree import Element

import pandas as pd

from benchmarks.columns import LABELS
from benchmarks.report.advice import advice
from benchmarks.report.cells import Cell, Table
from benchmarks.report.elements import element, render
from benchmarks.report.facts import facts
from benchmarks.report.gallery import gallery
from benchmarks.report.plots import Bar, Point, bars, colours, scatter
from benchmarks.report.results import Results
from benchmarks.report.tables import SETS_NOTE, Tables, set_means

PLOTTED = ("image_auroc", "aupro")
NO_LATENCY = "No plot of accuracy against latency: no run measured both."


def page(results: Results, tables: Tables) -> str:
    """Return the whole page."""
    name = f"Benchmark: {results.folder.resolve().name}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", name),
        element("style", _asset("page.css")),
    )
    parts = sections(results, tables)
    links = [element("a", title, href=f"#{_id(title)}") for title in parts]
    shown = [element("section", element("h2", title), *parts[title], id=_id(title)) for title in parts]
    header = element("header", element("h1", name), element("p", advice(results)), element("nav", *links))
    body = element("body", header, element("main", *shown))
    body.append(element("script", _asset("page.js")))
    return render(element("html", head, body, lang="en"))


def sections(results: Results, tables: Tables) -> dict[str, list[Element]]:
    """Return the parts of the page by title."""
    by_set = [element("div", element("h3", table.title), *_table(table)) for table in tables.sets]
    titled = {table.title: _table(table) for table in (tables.claims, tables.means, *tables.decisions) if table}
    if tables.few:
        titled[tables.few.table.title] = [element("div", *tables.few.plots, class_="plots"), *_table(tables.few.table)]
    if tables.weather:
        titled[tables.weather.title] = _table(tables.weather)
    titled["Accuracy against latency"] = latency_plots(results)
    titled["Accuracy by set"] = [*set_plots(results), element("p", SETS_NOTE, class_="note"), *by_set]
    titled |= {table.title: _table(table) for table in (tables.differences, tables.costs) if table}
    rows = [element("tr", element("th", name, scope="row"), element("td", text)) for name, text in facts(results)]
    made = element("table", element("tbody", *rows), class_="facts")
    return titled | {"Gallery": gallery(results), "How it was made": [made]}


def latency_plots(results: Results) -> list[Element]:
    """Plot the accuracy, mean over sets, against the median latency, of the complete models."""
    latency = results.rows.groupby("model")["latency_ms"].median()
    overall = set_means(results).groupby("model").mean()
    plots = []
    for measure in PLOTTED:
        means = overall[measure].dropna()
        points = [
            Point(model, colour, latency[model], means[model])
            for model, colour in colours(results.models).items()
            if model in means and model in results.complete
        ]
        if any(point.x > 0 for point in points):
            plots.append(scatter(points, LABELS["latency_ms"], f"{LABELS[measure]}, mean over sets"))
    if not plots:
        return [element("p", NO_LATENCY, class_="note")]
    note = "Median latency of one image; a dashed line is a model without a latency."
    return [element("div", *plots, class_="plots"), element("p", note, class_="note")]


def set_plots(results: Results) -> list[Element]:
    """Plot mean and deviation over seeds of every model on every set."""
    plots = []
    for measure in PLOTTED:
        groups = {name: _bars(results, name, measure) for name in results.sets}
        plots.append(element("figure", element("figcaption", LABELS[measure]), bars(groups, LABELS[measure])))
    return [element("div", *plots, class_="plots")]


def _bars(results: Results, set_name: str, measure: str) -> list[Bar]:
    seeds: dict[str, pd.Series] = {model: results.of(set_name, model)[measure] for model in results.models}
    palette = colours(results.models)
    return [Bar(model, palette[model], found.mean(), found.std()) for model, found in seeds.items() if len(found)]


def _table(table: Table) -> list[Element]:
    head = element("tr", *(element("th", column, scope="col") for column in table.columns))
    rows = [element("tr", *map(_cell, row)) for row in table.rows]
    made = element("table", element("thead", head), element("tbody", *rows), class_="sortable")
    scrolled = element("div", made, class_="wide")
    return [scrolled, element("p", table.note, class_="note")] if table.note else [scrolled]


def _cell(cell: Cell) -> Element:
    text = element("b", cell.text) if cell.strong else cell.text
    number = {} if cell.value is None else {"class_": "number", "data_value": cell.value}
    return element("td", text, **number)


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
