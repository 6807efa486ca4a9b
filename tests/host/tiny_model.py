"""The smallest anomalib model that shows the pixels it was given, and a folder of noise to give it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib import LearningType
from anomalib.data import Folder, InferenceBatch
from anomalib.models import AnomalibModule
from PIL import Image
from torch import Tensor, nn

from anomalib_stc.host.pre_processor import ExactPreProcessor

SIDE = 64


class RedChannel(nn.Module):
    """Anomaly map (B, 1, H, W) = red channel of the image; score (B,) = its maximum."""

    def forward(self, image: Tensor) -> InferenceBatch:
        anomaly_map = image[:, :1] * 1.0
        return InferenceBatch(pred_score=anomaly_map.amax(dim=(1, 2, 3)), anomaly_map=anomaly_map)


class TinyModel(AnomalibModule):
    """Shows what anomalib's hooks do with a model that computes nothing."""

    def __init__(self, pre_processor=True, post_processor=False, evaluator=False, visualizer=False) -> None:
        super().__init__(pre_processor, post_processor, evaluator, visualizer)
        self.model = RedChannel()

    @staticmethod
    def configure_pre_processor(image_size: tuple[int, int] | None = None) -> ExactPreProcessor:
        return ExactPreProcessor(image_size or SIDE)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        return None

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return batch.update(**self.model(batch.image)._asdict())

    def configure_optimizers(self) -> None:
        return None

    @property
    def learning_type(self) -> LearningType:
        return LearningType.ONE_CLASS

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        return {"max_epochs": 1, "num_sanity_val_steps": 0, "accelerator": "cpu", "enable_progress_bar": False}


def noise(size: tuple[int, int], seed: int, peak: int = 128) -> np.ndarray:
    """Uniform noise (height, width, 3) below a peak: the hardest image for two resizes to agree on."""
    return np.random.default_rng(seed).integers(0, peak, (*size, 3), dtype=np.uint8)


def write_images(folder: Path, sizes: Sequence[tuple[int, int]], bright: bool = False, seed: int = 0) -> Path:
    """Write noise images; bright ones hold a white square, whose mask goes to a folder beside."""
    masks = folder.with_name(folder.name + "_masks")
    for path in (folder, masks) if bright else (folder,):
        path.mkdir(parents=True)
    for index, (height, width) in enumerate(sizes):
        image = noise((height, width), seed + index)
        square = (slice(height // 4, height // 2), slice(width // 4, width // 2))
        if bright:
            image[square] = 255
            mask = np.zeros((height, width), dtype=np.uint8)
            mask[square] = 255
            Image.fromarray(mask).save(masks / f"{index}.png")
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def folder_data(root: Path, **arguments: Any) -> Folder:
    """An anomalib data module over folders of noise, in this process."""
    settings = {"train_batch_size": 3, "eval_batch_size": 3, "num_workers": 0, **arguments}
    return Folder(name="noise", root=root, **settings)


def as_input(image: np.ndarray) -> Tensor:
    """Image (H, W, 3) of bytes as anomalib reads it: (1, 3, H, W) in 0..1."""
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 255
