"""A made result folder: figures, images and maps as a benchmark leaves them, at once and without a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.columns import ACCURACY, COSTS, DECISIONS, KEYS
from benchmarks.regions import Regions

HOSTILE = "<img src=x onerror=alert(1)>.png"
QUALITY = {"stcm": 0.9, "padim": 0.8, "patchcore": 0.85, "statistic": 0.65}
LATENCY = {"stcm": 19.0, "padim": 23.0, "patchcore": 32.0}


def write_results(
    folder: Path,
    sets: tuple[str, ...] = ("tiles", "piped/A"),
    seeds: tuple[int, ...] = (0, 1),
    images: int = 10,
    side: int = 24,
    claims: tuple[dict[str, str], ...] = (),
) -> Path:
    """Write a result folder of four models, half of whose images have a defect; the first image's name is hostile."""
    rng = np.random.default_rng(0)
    rows = []
    for set_name in sets:
        pictures, masks = _pictures(rng, images, side)
        paths = [_save(folder / "images" / set_name, i, pictures[i], masks[i]) for i in range(images)]
        for model, quality in QUALITY.items():
            for seed in seeds:
                rows.append(_row(rng, set_name, model, seed))
                _run(rng, folder / "runs" / set_name / model / f"seed{seed}", quality, pictures, masks, paths)
    pd.DataFrame(rows).to_csv(folder / "runs.csv", index=False)
    (folder / "manifest.json").write_text(json.dumps(_manifest(sets, seeds, side, claims)))
    return folder


def _manifest(sets: tuple[str, ...], seeds: tuple[int, ...], side: int, claims: Any) -> dict[str, Any]:
    config = {"models": {name: {} for name in QUALITY if name != "statistic"}, "seeds": seeds, "image_size": side}
    return {
        "command": "python -m benchmarks run --data-root <R>",
        "commit": "0123456789abcdef",
        "created": "2026-01-02T03:04:05+00:00",
        "versions": {"anomalib": "2.7.0", "torch": "2.14.0"},
        "images": dict.fromkeys(sets, "ab" * 32),
        "config": {**config, "claims": claims},
    }


def _row(rng: np.random.Generator, set_name: str, model: str, seed: int) -> dict[str, Any]:
    figures = {name: np.clip(QUALITY[model] + rng.normal(0, 0.03), 0, 1) for name in ACCURACY}
    figures |= dict.fromkeys(DECISIONS, QUALITY[model]) | {"image_f1_best": 1.0, "false_alarms": 0.2, "good_images": 5}
    costs = dict.fromkeys(COSTS, "")
    if model in LATENCY:
        latency = LATENCY[model] + rng.normal(0, 0.5)
        costs |= {"train_s": 100.0, "test_s": 5.0, "latency_ms": latency, "images_per_s": 1e3 / latency}
        costs |= {"peak_mb": 1500.0, "size_mb": 40.0}
    return {**dict(zip(KEYS, (set_name, model, seed), strict=True)), **figures, **costs}


def _pictures(rng: np.random.Generator, images: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:side, :side] / side
    grain = 0.5 + 0.15 * np.sin(40 * rows + 6 * columns) + rng.normal(0, 0.04, (images, side, side))
    masks = np.zeros((images, side, side), dtype=bool)
    for i in range(images // 2):
        y, x, radius = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.06, 0.16)
        masks[i] = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    return np.clip(grain - 0.3 * masks, 0, 1), masks


def _save(folder: Path, i: int, picture: np.ndarray, mask: np.ndarray) -> tuple[str, str]:
    image = folder / ("good", "crack")[int(mask.any())] / (HOSTILE if i == 0 else f"{i:03}.png")
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * picture).astype(np.uint8)).save(image)
    if not mask.any():
        return str(image), ""
    truth = folder / "ground_truth" / f"{i:03}.png"
    truth.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * mask).astype(np.uint8)).save(truth)
    return str(image), str(truth)


def _run(
    rng: np.random.Generator,
    folder: Path,
    quality: float,
    pictures: np.ndarray,
    masks: np.ndarray,
    paths: list[tuple[str, str]],
) -> None:
    folder.mkdir(parents=True)
    noise = np.abs(rng.normal(0, 1.5 * (1 - quality), masks.shape))
    maps = (5 + masks * quality + noise).astype(np.float16)
    reconstructions = np.repeat((255 * pictures)[..., None], 3, axis=-1).astype(np.uint8)
    extra = {"reconstructions": reconstructions} if quality == QUALITY["stcm"] else {}
    np.savez(folder / "maps.npz", maps=maps, **extra)
    labels = masks.any(axis=(1, 2)).astype(int)
    scores = quality * labels + rng.normal(0, 0.4, len(labels))
    table = pd.DataFrame(paths, columns=["path", "mask"])
    table.assign(label=labels, score=scores, threshold=0.5).to_csv(folder / "images.csv", index=False)
    Regions.of(maps.astype(float), masks).save(folder / "regions.npz")
