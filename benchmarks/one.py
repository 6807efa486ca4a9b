"""One run of the benchmark in a process of its own, so that its memory is its own.

``python -m benchmarks.one FOLDER PARENT``: FOLDER holds ``job.yaml``, and what the run finds is written beside it,
``row.json`` last; PARENT is the number of the process that started it.
"""

import json
import os
import resource
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from anomalib.data import AnomalibDataModule, ImageBatch
from anomalib.engine import Engine
from anomalib.models import AnomalibModule, get_model
from anomalib.pre_processing import PreProcessor
from anomalib.utils.path import convert_to_snake_case
from lightning.pytorch import seed_everything
from omegaconf import OmegaConf
from torchvision.transforms.v2 import CenterCrop, Compose, Normalize

from anomalib_stc.host.holdout import plain_loader
from anomalib_stc.host.post_processor import NormalPostProcessor
from anomalib_stc.host.pre_processor import ExactPreProcessor, steps
from benchmarks.arms import arm, is_arm
from benchmarks.decisions import figures
from benchmarks.images import prepared
from benchmarks.latency import exported_cost
from benchmarks.predictions import Predictions
from benchmarks.regions import Regions
from benchmarks.settings import STATISTIC
from benchmarks.statistic import statistic
from benchmarks.thresholds import RATE, Thresholds
from benchmarks.weather import weather
from benchmarks.weights import LOCAL, lite0_backbone, lite0_colours

RAW: Final = {"post_processor": False, "evaluator": False, "visualizer": False}
KEPT: Final = {"enable_normalization": False, "enable_thresholding": False}  # of our models: thresholds, raw scores
SIZED: Final = ("stcm", "proxy_ano", "i3ad")  # models whose constructors check their arguments against the image's size


def main(folder: Path) -> None:
    """Do the job of a folder."""
    OmegaConf.register_new_resolver("lite0", lambda: lite0_backbone(folder / "weights"))
    job: Any = OmegaConf.to_container(OmegaConf.load(folder / "job.yaml"), resolve=True)
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    seed_everything(job["seed"], workers=True)
    module, held_out = prepared(job)
    found, costs = by_statistic(module, job) if job["model"] == STATISTIC else by_model(module, held_out, job, folder)
    found.with_mask_paths(module.test_data.samples).save(folder)
    Regions.of(found.maps, found.masks).save(folder / "regions.npz")
    row = {"set": job["set"], "model": job["model"], "seed": job["seed"], **figures(found), **costs}
    (folder / "row.json").write_text(json.dumps(row, indent=1))


def by_model(
    module: AnomalibDataModule, held_out: Any, job: dict[str, Any], folder: Path
) -> tuple[Predictions, dict[str, float]]:
    """Train a model, predict the test images, measure what it costs."""
    rate = job["false_alarm_rate"]
    model: Any = build(job["spec"], job["image_size"], rate)
    length = {"max_epochs": job["spec"]["max_epochs"]} if job["spec"]["max_epochs"] else {}
    engine = Engine(default_root_dir=folder / "engine", logger=False, limit_val_batches=0, **length)
    train_s = seconds(lambda: engine.fit(model, datamodule=module))
    normals = plain_loader(held_out, module.test_data.augmentations, job["spec"]["batch_size"])
    thresholds = thresholds_of(engine, model, normals, rate)
    batches: list[ImageBatch] = []
    test_s = seconds(lambda: batches.extend(predict(engine, model, module.test_dataloader())))
    costs = {"train_s": train_s, "test_s": test_s, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if job["latency"]:
        costs |= exported_cost(model, job["image_size"], folder / "exported")
    found = Predictions.of(batches)._replace(thresholds=thresholds)
    if job["weather"]:
        tested = weather(found, module.test_data, job["spec"]["batch_size"], partial(predict, engine, model))
        tested.to_csv(folder / "weather.csv", index=False)
    return found, costs


def by_statistic(module: AnomalibDataModule, job: dict[str, Any]) -> tuple[Predictions, dict[str, float]]:
    """Choose the statistic of the pixels that fits the test images best: no model, a bar."""
    transform = ExactPreProcessor(job["image_size"]).transform
    train, test = (list(plain_loader(data, transform, 8)) for data in (module.train_data, module.test_data))
    found = Predictions.of(test)
    learnt, tested = (torch.cat([batch.image for batch in batches]).movedim(1, -1).numpy() for batches in (train, test))
    scores, maps = statistic(list(learnt), list(tested), found.labels, found.masks)
    return found._replace(scores=scores, maps=maps), {}


def thresholds_of(engine: Engine, model: AnomalibModule, normals: Any, rate: float) -> Thresholds:
    """Return the thresholds of one of our models, or those that held-out normal images set for a peer."""
    if isinstance(model.post_processor, NormalPostProcessor):
        return Thresholds.of_model(model.post_processor)
    found = Predictions.of(predict(engine, model, normals))
    return Thresholds.of_normals(found.scores, found.maps, rate)


def build(spec: dict[str, Any], side: int, rate: float = RATE) -> AnomalibModule:
    """Return a model at one image size, with raw scores: a normalisation would cut off what lies beyond the seen.

    One of ours keeps the thresholds that its training sets, for a rate of false alarms that its arguments may change.

    Raises:
        ValueError: If the specification names an arm that there is not.
    """
    name = spec["model"]
    make = arm(name) if is_arm(name) else partial(get_model, name)
    given = {**spec["args"], **RAW}
    if is_arm(name) or convert_to_snake_case(name) in SIZED:
        own = {"image_size": side, "post_processor": NormalPostProcessor(**KEPT)}
        given = {"false_alarm_rate": rate, **given, **own}
    model = make(**given)
    colours = colours_of(spec["args"])
    shown = fitting(type(model).configure_pre_processor((side, side)), colours)
    if colours:
        return make(**given, pre_processor=shown)  # GLASS reads it when it is made
    model.pre_processor = shown
    return model


def colours_of(arguments: dict[str, Any]) -> Normalize | None:
    """Return the step that shows images to a backbone as it was trained, where `lite0_backbone` wrote it."""
    return lite0_colours() if str(arguments.get("backbone", "")).startswith(LOCAL) else None


def fitting(pre_processor: Any, colours: Normalize | None) -> Any:
    """Return a pre-processor that shows a model the whole image in the colours that its backbone knows.

    MHPatchcore's own crop would leave out defects near the edges. All of anomalib's models take mean and deviation of
    most of torchvision's networks, whatever their backbone was trained with.
    """
    found = list(steps(pre_processor.transform))
    kept = [step for step in found if not isinstance(step, CenterCrop)]
    told = [colours if colours and isinstance(step, Normalize) else step for step in kept]
    return pre_processor if told == found else PreProcessor(Compose(told))


def predict(engine: Engine, model: AnomalibModule, loader: Any) -> list[ImageBatch]:
    """Return the batches of a loader with scores and maps.

    Raises:
        ValueError: If the model gives no scores or no maps.
    """
    batches: Any = engine.predict(model, dataloaders=loader, return_predictions=True)
    for field in ("pred_score", "anomaly_map"):
        if getattr(batches[0], field, None) is None:
            msg = f"{type(model).__name__} gives no {field}: the benchmark compares models that give scores and maps."
            raise ValueError(msg)
    return batches


def seconds(work: Any) -> float:
    """Return how long work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def die_with(parent: int) -> None:
    """End this process when the one that started it is gone, so that no two write into one folder."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    started_by = int(sys.argv[2])
    if os.getppid() != started_by:
        sys.exit(1)
    threading.Thread(target=die_with, args=[started_by], daemon=True).start()
    main(Path(sys.argv[1]))
