"""How long to train where the trainer was not told."""

import logging
import math
from typing import Any

from lightning.pytorch import Trainer

logger = logging.getLogger(__name__)
LIGHTNING_FALLBACK_EPOCHS = 1000  # what Lightning takes where nobody gave a length


def set_default_length(trainer: Trainer, images: int) -> None:
    """Train for about the given number of images, and validate once at the end, unless the trainer has a length.

    Lightning's own fallback, 1000 epochs, means hours here. Images, not epochs or steps, make the time the same for
    any batch size and set size. A trainer that was told exactly 1000 epochs cannot be told from one that was told
    nothing.

    Args:
        trainer: The trainer of the fit that starts.
        images: Training images to show in all.
    """
    untold = trainer.max_epochs == LIGHTNING_FALLBACK_EPOCHS and trainer.max_steps == -1
    if not untold:
        return
    trainer.fit_loop.setup_data()
    loader: Any = trainer.train_dataloader
    batch_size = (loader.batch_size or 1) * trainer.world_size
    epochs = max(1, math.ceil(images / (batch_size * trainer.num_training_batches)))
    trainer.fit_loop.max_epochs = epochs
    if trainer.check_val_every_n_epoch == 1:
        trainer.check_val_every_n_epoch = epochs
    logger.info("No length was given: training %d epochs; set trainer.max_epochs to change it.", epochs)
