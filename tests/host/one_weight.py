"""The smallest model on this package's own base, to see how long it trains, at which rates, and what is left of it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from torch import Tensor, nn

from anomalib_stc.host.module import ReconstructionModule
from anomalib_stc.parts.features import PatchFeatures
from anomalib_stc.parts.losses import Losses, Terms
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import in_cells
from tests.host.tiny_model import SIDE, folder_data, write_images

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


class Learnt(NamedTuple):
    image: Tensor
    reconstruction: Tensor
    window: Any = slice(None)


class Red(ScoredModel):
    """Rebuilds every image as one red, times a weight; there is nothing to prepare."""

    def __init__(self) -> None:
        super().__init__()
        self.features = PatchFeatures()
        self.weight = nn.Parameter(torch.ones(()))
        self.score = AnomalyScore({"red": 1.0}, sigma=0.0)

    def start(self, images: list[Tensor], features: list[Tensor], seed: int) -> None:
        pass

    def learn(self, image: Tensor) -> Learnt:
        return Learnt(image, self.weight * image.mean().expand_as(image))

    infer = learn

    def own_residuals(self, inferred: Learnt, names: Iterable[str]) -> dict[str, Tensor]:
        return {"red": in_cells((inferred.image - inferred.reconstruction)[:, :1].abs(), inferred.image.shape[-2:])}


class Distance(Losses):
    def terms(self, image: Tensor, learnt: Any, original: Tensor, rebuilt: Tensor) -> Terms:
        return {"pixel": lambda: (original - rebuilt).square().mean()}


class OneWeight(ReconstructionModule, AnomalibModule):
    """Notes the rate, the images and the epoch of every step, and the rounds of validation."""

    def __init__(
        self,
        learning_rate: float = 1.0,
        train_images: int = 24,
        holdout: float = 0.25,
        false_alarm_rate: float = 0.1,
        pre_processor: Any = True,
        post_processor: Any = True,
        evaluator: Any = True,
        visualizer: Any = False,
    ) -> None:
        super().__init__(self.sized(pre_processor, SIDE), post_processor, evaluator, visualizer)
        self.model, self.loss = Red(), Distance({"pixel": 1.0, "adversarial": 0.0})
        self.set_up(learning_rate, train_images, holdout, false_alarm_rate)
        self.rates: list[float] = []
        self.seen: list[int] = []
        self.validated: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.seen.append(len(batch.image[self._chunk]))
        return super().training_step(batch, batch_idx)

    def on_validation_end(self) -> None:
        self.validated.append(self.trainer.current_epoch)


def write_set(root: Path) -> Path:
    """Write 20 normal images, of which 12 are trained on, 4 held out and 4 for validation, and 2 with a defect."""
    write_images(root / "good", [(SIDE, SIDE)] * 20)
    write_images(root / "bad", [(SIDE, SIDE)] * 2, bright=True, seed=100)
    return root


def images(root: Path, batch: int = 4, **arguments: Any) -> Folder:
    """Data of `write_set`: three batches an epoch, unless told otherwise."""
    settings = {"normal_dir": "good", "abnormal_dir": "bad", "mask_dir": "bad_masks", "train_batch_size": batch}
    splits = {"test_split_mode": "from_dir", "normal_split_ratio": 0.2, "val_split_mode": "same_as_test"}
    return folder_data(root, **{**settings, **splits, **arguments})


def engine(root: Path, **trainer: Any) -> Engine:
    return Engine(default_root_dir=root / "out", **{**QUIET, **trainer})


def fit(root: Path, model: OneWeight | None = None, batch: int = 4, **trainer: Any) -> tuple[OneWeight, Any]:
    """Train; return the model and its trainer."""
    model, own = model or OneWeight(), engine(root, **trainer)
    own.fit(model, datamodule=images(root, batch))
    return model, own.trainer
