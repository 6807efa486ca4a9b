"""The gallery: image, ground truth, every model's map and reconstruction of a set's telling cases."""

from pathlib import Path, PureWindowsPath
from xml.etree.ElementTree import Element

from PIL import Image

from benchmarks.report.cases import Case, Outputs, choose_cases, read_images, read_outputs, run_folders
from benchmarks.report.elements import element
from benchmarks.report.results import Results
from benchmarks.report.thumbnails import SIDE, colour_map, data_uri, shrink, shrink_mask

NOTE = (
    "Defects are ranked by the score of {model}, whose first seed is shown, as of all models. A map's colours run from "
    "the model's lowest value on the set (black) to its 99.9 % quantile (pale yellow)."
)
ABSENT = "No gallery: it needs images.csv and maps.npz of {model} in runs/, which are not in the folder."


def gallery(results: Results) -> list[Element]:
    """Return the gallery of all sets, or a sentence where the run folders are missing."""
    first = results.models[0]
    sets = {name: run_folders(results, name) for name in results.sets}
    shown = [gallery_of(results, name, folders) for name, folders in sets.items() if first in folders]
    if not shown:
        return [element("p", ABSENT.format(model=first), class_="note")]
    return [element("p", NOTE.format(model=first), class_="note"), *shown]


def gallery_of(results: Results, set_name: str, folders: dict[str, Path]) -> Element:
    """Return the cases of one set, whose runs are in folders by model."""
    outputs = {model: read_outputs(folder) for model, folder in folders.items()}
    cases = choose_cases(read_images(folders[results.models[0]]))
    rows = [_row(case, outputs) for case in cases]
    return element("section", element("h3", set_name), *rows)


def _row(case: Case, outputs: dict[str, Outputs]) -> Element:
    image = _open(case.path)
    small = shrink(image) if image else None
    size = small.size if small else (SIDE, SIDE)
    name = "/".join(PureWindowsPath(case.path).parts[-2:])
    shown = [_figure("image", small, name), _figure("ground truth", _mask(case, size), name)]
    for model, output in outputs.items():
        shown += [_figure(title, picture, name) for title, picture in _model(model, output, case.path, size)]
    title = element("p", element("b", case.title), " ", element("code", name), f" {case.caption}")
    return element("article", title, element("div", *shown, class_="strip"), class_="case")


def _model(model: str, output: Outputs, path: str, size: tuple[int, int]) -> list[tuple[str, Image.Image | None]]:
    """Return the titled pictures of one model for one image."""
    if path not in output.paths:
        return [(model, None)]
    i = output.paths.index(path)
    pictures: list[tuple[str, Image.Image | None]] = [
        (model, colour_map(output.maps[i], output.low, output.high, size))
    ]
    if output.reconstructions is not None:
        pictures.append((f"{model}, reconstruction", Image.fromarray(output.reconstructions[i]).resize(size)))
    return pictures


def _mask(case: Case, size: tuple[int, int]) -> Image.Image | None:
    if not case.defect:
        return Image.new("L", size)
    mask = _open(case.mask) if case.mask else None
    return shrink_mask(mask, size) if mask else None


def _open(path: str) -> Image.Image | None:
    return Image.open(path) if Path(path).is_file() else None


def _figure(title: str, picture: Image.Image | None, name: str) -> Element:
    if picture is None:
        shown = element("div", "not found", class_="absent")
    else:
        width, height = picture.size
        shown = element("img", src=data_uri(picture), alt=f"{title} of {name}", width=width, height=height)
    return element("figure", shown, element("figcaption", title))
