"""What the programs for single claims share: their options, and a training as the benchmark's."""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from anomalib.data import AnomalibDataModule
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from lightning.pytorch import seed_everything

from benchmarks.images import datamodule, hold_out

Model = TypeVar("Model", bound=AnomalibModule)


def parser(program: str, what: str, train_images: int) -> argparse.ArgumentParser:
    """Return the options: which images, seeds, size, length of training, and the table to write.

    Args:
        program: Name of the module in ``benchmarks``.
        what: What it says of itself.
        train_images: Images to show in training, if not told otherwise.
    """
    options = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}", description=what)
    options.add_argument(
        "--data-root", required=True, help="folder that holds a folder for every category, MVTec AD layout"
    )
    options.add_argument("--categories", nargs="+", required=True, help="folders under the root")
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options.add_argument("--image-size", type=int, default=256, help="side in pixels")
    options.add_argument("--train-images", type=int, default=train_images, help="images to show in every training")
    table = Path(f"results/{program}.csv")
    options.add_argument("--output", type=Path, default=table, help="table to write (%(default)s)")
    return options


def trained(
    build: Callable[[], Model], data_root: str, category: str, seed: int
) -> tuple[Model, Any, AnomalibDataModule]:
    """Train what is built; return it, the normal images that were kept from it, and the data module."""
    seed_everything(seed, workers=True)
    module = datamodule({"root": data_root, "layout": "mvtec", "num_workers": 0}, category, 8)
    held_out = hold_out(module, 0.1)
    model = build()
    with TemporaryDirectory() as folder:
        engine = Engine(default_root_dir=folder, logger=False, limit_val_batches=0, enable_progress_bar=False)
        engine.fit(model, datamodule=module)
    return model.eval(), held_out, module
