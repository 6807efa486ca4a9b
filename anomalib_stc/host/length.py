"""How long to train where the trainer was not told, how many images a step looks at, and at which rate."""

import math
from itertools import pairwise
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.optim.lr_scheduler import OneCycleLR

STEP_IMAGES = 8  # more images a step would leave fewer steps of a short training
LIGHTNING_FALLBACK_EPOCHS = 1000  # what Lightning takes where nobody gave a length


def set_default_length(trainer: Trainer, images: int) -> None:
    """Train for about the given number of images, and validate once at the end, unless the trainer has a length.

    Lightning's own fallback, 1000 epochs, means hours here. Images, not epochs, make the time the same for any batch
    size and set size, and `chunks` makes the number of steps the same. A trainer that was told exactly 1000 epochs
    cannot be told from one that was told nothing.

    Args:
        trainer: The trainer of the fit that starts.
        images: Training images to show in all.
    """
    untold = trainer.max_epochs == LIGHTNING_FALLBACK_EPOCHS and trainer.max_steps == -1
    if not untold:
        return
    trainer.fit_loop.setup_data()
    loader: Any = trainer.train_dataloader
    batches = int(trainer.num_training_batches)
    shown = (loader.batch_size or 1) * batches
    if batches == len(loader) and loader.batch_size and not loader.drop_last:
        shown = min(shown, len(loader.sampler))  # the last batch may have empty places
    epochs = max(1, math.ceil(images / (shown * trainer.world_size)))
    trainer.fit_loop.max_epochs = epochs
    if trainer.check_val_every_n_epoch == 1:
        trainer.check_val_every_n_epoch = epochs
    rank_zero_info(f"No length was given: training {epochs} epochs; set trainer.max_epochs to change it.")


def chunks(count: int) -> list[slice]:
    """Cut a batch of some images into equal chunks of about `STEP_IMAGES`, for a step each.

    A training of a given number of images would else have a quarter of the steps at anomalib's own batch of 32, which
    loses a tenth of AUPRO and more.
    """
    number = max(1, round(count / STEP_IMAGES))
    bounds = [count * chunk // number for chunk in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


class OneCycle(OneCycleLR):
    """torch's cycle, counted in batches, which also moves from chunk to chunk of a batch.

    Without this the first and the last steps of a short training of large batches would all have the cycle's lowest
    rates.
    """

    def move(self, share: float) -> None:
        """Set the rates that belong to a share of this batch, in [0, 1); the count of batches stays."""
        if share == 0:
            return
        batch = self.last_epoch
        self.last_epoch = min(batch + share, self.total_steps - 1)  # type: ignore[assignment]
        self._get_lr_called_within_step = True  # else torch warns of what is meant here
        rates = self.get_lr()
        self._get_lr_called_within_step = False
        self.last_epoch = batch
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
