"""The main job in one run: train STCM on the demo set, test it, export it, run the export, show what it saw.

``python -m anomalib_stc.demo --output demo`` downloads nothing and needs some minutes on two cores.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import openvino
import torch
from anomalib.data import ImageBatch, ImageItem
from anomalib.deploy import ExportType
from anomalib.engine import Engine
from anomalib.visualization.image.functional import create_image_grid
from lightning.pytorch import seed_everything
from PIL import Image

from anomalib_stc.data import TextureDemo
from anomalib_stc.data.photographs import Category
from anomalib_stc.host.evaluator import AuproEvaluator
from anomalib_stc.host.export import EXACT
from anomalib_stc.host.visualizer import ReconstructionVisualizer
from anomalib_stc.models import Stcm

COMPARED = ("pred_score", "anomaly_map")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo; arguments default to the command line's."""
    options = _parse(arguments)
    seed_everything(0)
    data = TextureDemo(options.output / "data", options.category)
    model = Stcm(image_size=options.image_size, evaluator=AuproEvaluator())
    engine = Engine(default_root_dir=options.output, accelerator="cpu", devices=1)
    engine.fit(model, datamodule=data)
    metrics = engine.test(model, datamodule=data, verbose=False)[0]
    predicted = cast("list[ImageBatch]", engine.predict(model, datamodule=data))
    exported = _export(engine, model, options.output)
    outputs = _run_export(exported, TextureDemo(options.output / "data", options.category))
    differences = {name: _difference(name, predicted, outputs) for name in COMPARED}
    picture = options.output / "demo.png"
    _sheet(predicted, outputs).save(picture)
    _report(metrics, differences, {"picture": picture, "exported model": exported})


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m anomalib_stc.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for data, weights and the picture")
    parser.add_argument("--category", choices=get_args(Category), default="brick", help="the photograph to learn")
    parser.add_argument("--image-size", type=int, default=256, help="side in pixels that the model works at")
    return parser.parse_args(arguments)


def _export(engine: Engine, model: Stcm, folder: Path) -> Path:
    path = engine.export(model, ExportType.OPENVINO, export_root=folder)
    return cast("Path", path)


def _run_export(path: Path, data: TextureDemo) -> list[dict[str, torch.Tensor]]:
    """Run the exported model on the test images: score (B,) and map (B, 1, H, W) of each batch.

    The data module must be one that no trainer has seen: only then its images come at their own size.
    """
    data.setup()
    model = openvino.compile_model(path, "CPU", EXACT)
    outputs = (model(batch.image.numpy()) for batch in data.test_dataloader())
    return [{name: torch.from_numpy(output[name].copy()) for name in COMPARED} for output in outputs]


def _difference(name: str, predicted: Sequence[ImageBatch], outputs: Sequence[dict[str, torch.Tensor]]) -> float:
    """Return the largest difference of one result over all images, both models' values being in 0..1."""
    pairs = [(getattr(batch, name), output[name]) for batch, output in zip(predicted, outputs, strict=True)]
    return max(float((ours - exported.reshape(ours.shape)).abs().max()) for ours, exported in pairs)


def _sheet(predicted: Sequence[ImageBatch], outputs: Sequence[dict[str, torch.Tensor]]) -> Image.Image:
    """Draw the first image of every kind, a row each, with the map of the exported model."""
    rows: dict[str, ImageItem] = {}
    for batch, output in zip(predicted, outputs, strict=True):
        for item, anomaly_map in zip(batch, output["anomaly_map"], strict=True):
            if rows.setdefault(Path(str(item.image_path)).parent.name, item) is item:
                item.anomaly_map = anomaly_map
    visualizer = ReconstructionVisualizer()
    return create_image_grid([cast("Image.Image", visualizer.visualize(item)) for item in rows.values()], nrow=1)


def _report(metrics: Any, differences: dict[str, float], files: dict[str, Path]) -> None:
    lines = {
        "image AUROC": f"{metrics['image_AUROC']:.3f}",
        "pixel AUROC": f"{metrics['pixel_AUROC']:.3f}",
        "AUPRO": f"{metrics['pixel_AUPRO']:.3f}",
        "largest |torch - OpenVINO|": f"{differences['pred_score']:.1e} of all scores",
        "the same of the maps": f"{differences['anomaly_map']:.1e} of all pixels",
        **files,
    }
    for name, value in lines.items():
        print(f"{name:<28}{value}")


if __name__ == "__main__":
    main()
