"""What a model costs with more normal images: training time, memory, and the exported graph, each run in a process.

``python -m benchmarks.growth --data-root R --category C`` makes sets of 60, 250 and 1,000 training images,
those held out included, from one set, trains the models on each, and prints a table. What is finished is not repeated.
"""

import argparse
import json
import shutil
import sys
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from anomalib.data import AnomalibDataModule
from lightning.pytorch.trainer.states import TrainerFn
from omegaconf import DictConfig
from PIL import Image

from benchmarks import settings
from benchmarks.columns import LABELS
from benchmarks.images import datamodule
from benchmarks.manifest import write_manifest
from benchmarks.report.markdown import escape, table_line
from benchmarks.runner import Run, alone_in, check_same, executed, planned

COUNTS: Final = (60, 250, 1000)
CONFIG: Final = settings.CONFIGS / "growth.yaml"
LIMITS: Final = {"patchcore": 250}  # its coreset takes hours of more
MEASURED: Final = ("train_s", "peak_mb", "size_mb", "latency_ms")
TURNS: Final = (None, *Image.Transpose)  # the eight ways to turn and flip an image
CROP = 0.9  # of both sides


def main() -> int:
    """Run what is not finished and print the table; return the exit status."""
    options = parser().parse_args()
    try:
        failed = grow(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for run in failed:
        print(f"failed: {run.log}", file=sys.stderr)
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").splitlines()[0])
    top.add_argument("--config", type=Path, default=CONFIG, help="settings (%(default)s)")
    top.add_argument("--data-root", required=True, help="folder that holds the category")
    top.add_argument("--category", required=True, help="folder under the root")
    top.add_argument("--output", help="folder of the results")
    top.add_argument("--models", nargs="+", help="some of the configuration's models")
    top.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), help="normal images (%(default)s)")
    top.add_argument("--image-size", type=int, help="side in pixels, for every model")
    return top


def grow(options: argparse.Namespace) -> list[Run]:
    """Make the sets, run what is not finished, print the table, and return the runs that failed.

    Raises:
        ValueError: If the category has no images, or a finished run was made with other settings.
    """
    source = read(options)
    module = datamodule(settings.plain(source)["data"], options.category, 1)
    module.setup(TrainerFn.FITTING)
    with TemporaryDirectory() as folder, alone_in(Path(source.output)):
        sets = [enlarged(source, module, count, Path(folder)) for count in options.counts]
        runs = [run for made in sets for run in planned(made)]
        for made in sets:
            check_same(made)
        write_manifest(Path(source.output), source, ["benchmarks.growth", *sys.argv[1:]])
        list(executed([run for run in runs if not run.finished], 1, Path(source.output)))
        print(table([run for run in runs if run.finished], list(source.models)))
        print("\nCommit {commit}.".format(**json.loads((Path(source.output) / "manifest.json").read_text())))
    return [run for run in runs if not run.finished]


def read(options: argparse.Namespace) -> DictConfig:
    """Return the settings of the command line."""
    changes = {
        "data.root": options.data_root,
        "data.categories": [options.category],
        "output": options.output,
        "image_size": options.image_size,
    }
    return settings.choose_models(settings.load(options.config, changes), options.models)


def enlarged(source: DictConfig, module: AnomalibDataModule, count: int, root: Path) -> DictConfig:
    """Write the set of a number of normal images, and return the settings of its runs: as the only set it is timed."""
    name = f"{source.data.categories[0]}/{count}"
    write_set(module, count, root / name)
    own = deepcopy(source)
    own.merge_with({"data": {"root": str(root), "layout": "mvtec", "categories": [name]}})
    return settings.choose_models(own, [model for model in own.models if count <= LIMITS.get(model, count)])


def write_set(module: AnomalibDataModule, count: int, folder: Path) -> None:
    """Write a set in MVTec AD layout: a number of normal images made from those of a data module, and its test images.

    Args:
        module: A data module that is set up.
        count: Normal images; the first are the data module's own.
        folder: Where; it must not be there.
    """
    normals = list(module.train_data.samples.image_path)
    for number in range(count):
        image = Image.open(normals[number % len(normals)]).convert("RGB")
        save(altered(image, number // len(normals)), folder / "train" / "good" / f"{number:05}.png")
    for number, row in enumerate(module.test_data.samples.itertuples()):
        kind = "defect" if row.label_index else "good"
        copy(row.image_path, folder / "test" / kind, number)
        if row.label_index:
            copy(row.mask_path, folder / "ground_truth" / kind, number)


def altered(image: Image.Image, number: int) -> Image.Image:
    """Return an image turned or flipped in one of eight ways; from the number 8 on also a drawn part of it, enlarged.

    Number 0 is the image itself.
    """
    turn = TURNS[number % len(TURNS)]
    turned = image if turn is None else image.transpose(turn)
    if number < len(TURNS):
        return turned
    (width, height), offsets = turned.size, np.random.default_rng(number).random(2)
    left, top = (1 - CROP) * width * offsets[0], (1 - CROP) * height * offsets[1]
    return turned.resize(turned.size, Image.Resampling.BILINEAR, (left, top, left + CROP * width, top + CROP * height))


def save(image: Image.Image, path: Path) -> None:
    """Write an image, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def copy(path: Any, folder: Path, number: int) -> None:
    """Copy a file under a number as its name, which an image and its mask share."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / f"{number:05}{Path(path).suffix}")


def table(runs: list[Run], models: list[str]) -> str:
    """Return a Markdown table of finished runs, model by model."""
    columns = ["model", "set", *(LABELS[name] for name in MEASURED)]
    rows = [json.loads((run.folder / "row.json").read_text()) for run in runs]
    rows.sort(key=lambda row: models.index(row["model"]))  # the sets stay in their order
    cells = [[escape(row["model"]), escape(row["set"]), *(f"{row[name]:.1f}" for name in MEASURED)] for row in rows]
    return "\n".join([table_line(columns), table_line(["---"] * len(columns)), *map(table_line, cells)])


if __name__ == "__main__":
    sys.exit(main())
