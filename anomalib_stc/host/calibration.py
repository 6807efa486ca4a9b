"""Keeps some normal training images out of training; scales and thresholds come from them, at every validation."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from anomalib.data import AnomalibDataset
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from anomalib_stc.host.holdout import plain_loader, split_holdout
from anomalib_stc.host.post_processor import NormalPostProcessor

logger = logging.getLogger(__name__)
BATCH_SIZE = 8


class HoldoutCalibration(Callback):
    """Calibrates a model whose torch model is a `ScoredModel`.

    Args:
        fraction: Share of the training images to hold out.
        false_alarm_rate: Share of normal images above the threshold where validation has no anomaly.
    """

    def __init__(self, fraction: float, false_alarm_rate: float) -> None:
        self.fraction = fraction
        self.quantile = 1 - false_alarm_rate
        self.training: AnomalibDataset | None = None
        self.held_out: AnomalibDataset | None = None
        self._whole: AnomalibDataset | None = None
        self._step: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the images out of a pickle: a model needs none of them any more."""
        return {**self.__dict__, "training": None, "held_out": None, "_whole": None}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Split the data module's training images before a fit."""
        del pl_module
        datamodule: Any = getattr(trainer, "datamodule", None)
        if stage != "fit" or datamodule is None:
            return
        self._whole = datamodule.train_data
        self.training, self.held_out = split_holdout(datamodule.train_data, self.fraction)
        datamodule.train_data = self.training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without a data module there was nothing to split: use the training images, and say so."""
        del pl_module
        self._step = None
        if self.held_out is None:
            loader: Any = trainer.train_dataloader
            self.training = self.held_out = loader.dataset
            logger.warning("No data module was given: scales and thresholds come from the training images themselves.")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the data module all its training images back."""
        del pl_module
        datamodule: Any = getattr(trainer, "datamodule", None)
        if stage == "fit" and self._whole is not None:
            datamodule.train_data = self._whole
            self._whole = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calibrate before validation finds its own thresholds on the same scale."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._calibrate(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calibrate at the end of training where no validation did; the checkpoint is written after this."""
        last = trainer.current_epoch + 1 == trainer.max_epochs or trainer.global_step == trainer.max_steps
        if last or trainer.should_stop:
            self._calibrate(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calibrate a training that ended in the middle of an epoch."""
        self._calibrate(trainer, pl_module)

    def images(self, pl_module: Any, dataset: AnomalibDataset) -> Iterator[Tensor]:
        """Yield a data set's images in batches (B, 3, H, W), as they are at test time, on the module's device."""
        transform = pl_module.pre_processor.transform if pl_module.pre_processor else None
        for batch in plain_loader(dataset, transform, BATCH_SIZE):
            yield batch.image.to(pl_module.device)

    @torch.no_grad()
    def _calibrate(self, trainer: Trainer, pl_module: Any) -> None:
        """Set scales, then thresholds, once for every state of the weights."""
        done = self._step == trainer.global_step and pl_module.model.score.calibrated  # averages of weights have none
        if done or self.held_out is None:
            return
        self._step = trainer.global_step
        model = pl_module.model
        training = model.training
        model.eval()
        normals = partial(self.images, pl_module, self.held_out)
        model.calibrate(normals)
        if isinstance(pl_module.post_processor, NormalPostProcessor):
            predictions = [model(image) for image in normals()]
            scores = torch.cat([prediction.pred_score.flatten() for prediction in predictions])
            maps = (prediction.anomaly_map for prediction in predictions)
            pl_module.post_processor.fit_normals(scores, maps, self.quantile)
        model.train(training)
