"""Latency of our exported models beside anomalib's PaDiM (ResNet18) and PatchCore (WideResNet50-2), one image.

``python -m benchmarks.latency`` downloads nothing: the models run in turn, with random weights.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import openvino as ov
import torch
from anomalib.models import AnomalibModule, Padim, Patchcore

from anomalib_stc.host.export import EXACT, OPSET
from anomalib_stc.models import I3ad, ProxyAno, Stcm
from anomalib_stc.parts.score import AnomalyScore
from benchmarks.arms.i3ad import GUESSED

RUNS = 30
WARM_UP = 5
IMAGES = 60  # training images of PatchCore


def main() -> None:
    """Export all, run them in turn, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image-size", type=int, default=256, help="side in pixels of image and model")
    side = parser.parse_args().image_size
    image = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    with TemporaryDirectory() as folder:
        models = {name: compiled(build(side), side, Path(folder) / name) for name, build in BUILD.items()}
        seconds = in_turn(models, image)
    medians = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(
            f"{name:<18}{median:8.2f} ms, median of {RUNS}, {median / medians['padim']:.2f} of PaDiM, "
            f"{median / medians['patchcore']:.2f} of PatchCore"
        )


def padim(side: int) -> Padim:
    """Return PaDiM with the statistics of random features, as large as trained ones."""
    model: Any = Padim(
        backbone="resnet18", pre_trained=False, pre_processor=Padim.configure_pre_processor((side, side))
    )
    channels, positions = model.model.n_features, (side // 4) ** 2
    model.model.gaussian.mean = torch.zeros(channels, positions)
    model.model.gaussian.inv_covariance = torch.eye(channels).repeat(positions, 1, 1)
    return model


def ours(side: int, model: Callable[..., AnomalibModule], **arguments: Any) -> AnomalibModule:
    """Return one of our models with every scale and threshold one: without them nothing is exported.

    I3AD's masks are then as large as they may be, which cost the same as small ones.
    """
    built: Any = model(image_size=side, **arguments)
    built.post_processor.fit_normals(torch.ones(1), torch.ones(1, 3), 0.5)
    for score in built.modules():
        if isinstance(score, AnomalyScore):
            score.calibrate(dict.fromkeys(score.terms, torch.tensor(1.0)))
    return built


def patchcore(side: int) -> Patchcore:
    """Return PatchCore (WideResNet50-2) with a tenth of the patches of 60 images, of random features."""
    model: Any = Patchcore(
        backbone="wide_resnet50_2", pre_trained=False, pre_processor=Patchcore.configure_pre_processor((side, side))
    )
    model.model.memory_bank = torch.randn(IMAGES * (side // 8) ** 2 // 10, sum(model.model.feature_extractor.out_dims))
    return model


MATCHED: Final = {"correspondence": 1.0}  # what STCM and ProxyAno train, with a weight in the score
BUILD: Final[dict[str, Callable[[int], AnomalibModule]]] = {
    "ours": partial(ours, model=I3ad),  # all three at their defaults: the memory bank alone
    "stcm_trained": partial(ours, model=Stcm, score_weights=MATCHED),
    "proxy_ano_trained": partial(ours, model=ProxyAno, score_weights=MATCHED),
    **{
        f"i3ad_trained_{turns}": partial(ours, model=I3ad, iterations=turns, score_weights=GUESSED)
        for turns in (0, 1, 2, 4, 8)
    },
    "padim": padim,
    "patchcore": patchcore,
}


def compiled(model: AnomalibModule, side: int, folder: Path) -> ov.CompiledModel:
    """Export a model for one image of one size and compile it; PatchCore for any number would take two only."""
    alone = {"opset_version": OPSET, "dynamic_shapes": None}
    path = model.eval().to_openvino(folder, input_size=(side, side), onnx_kwargs=alone)
    return ov.compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY", **EXACT})


def exported_cost(model: AnomalibModule, side: int, folder: Path) -> dict[str, float]:
    """Return milliseconds an image, images a second and megabytes of a model exported to OpenVINO."""
    compiled_model = compiled(model, side, folder)
    image = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    milliseconds = 1e3 * statistics.median(in_turn({"": compiled_model}, image)[""])
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in {".xml", ".bin"})
    return {"latency_ms": milliseconds, "images_per_s": throughput(folder, image), "size_mb": size / 2**20}


def throughput(folder: Path, image: np.ndarray) -> float:
    """Return the images a second of an exported model, several requests at once."""
    path = next(folder.rglob("*.xml"))
    queue = ov.AsyncInferQueue(ov.compile_model(path, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT", **EXACT}))
    for _ in range(WARM_UP):
        queue.start_async(image)
    queue.wait_all()
    start = time.perf_counter()
    for _ in range(RUNS):
        queue.start_async(image)
    queue.wait_all()
    return RUNS / (time.perf_counter() - start)


def in_turn(models: dict[str, ov.CompiledModel], image: np.ndarray) -> dict[str, list[float]]:
    """Return the seconds of every run: the models take turns, so that a busy machine slows both."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(RUNS + WARM_UP):
        for name, model in models.items():
            start = time.perf_counter()
            model(image)
            seconds[name].append(time.perf_counter() - start)
    return {name: times[WARM_UP:] for name, times in seconds.items()}


if __name__ == "__main__":
    main()
