"""A training that ends leaves a checkpoint, whatever the rhythm of saving was, or says that there is none."""

import logging
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from anomalib_stc.host.callbacks import of_kind

logger = logging.getLogger(__name__)


def save_where_nothing_was_saved(trainer: Trainer) -> None:
    """Save a checkpoint at the end of a training for each `ModelCheckpoint` that has saved none in it."""
    for callback in _empty(trainer):
        metrics = callback._monitor_candidates(trainer)
        callback.best_model_path = callback._get_metric_interpolated_filepath_name(metrics, trainer)
        callback._save_checkpoint(trainer, callback.best_model_path)
        callback._save_last_checkpoint(trainer, metrics)
        rank_zero_info(f"No checkpoint was due during training: its end is saved as {callback.best_model_path}.")


def tell_where_nothing_was_saved(trainer: Trainer) -> None:
    """Log that a training was broken off before anything was saved."""
    callbacks = _empty(trainer)
    if len(callbacks) == len(_kept(trainer)) > 0 and not any(callback.save_on_exception for callback in callbacks):
        logger.warning("Training was broken off at step %d, and no checkpoint was saved.", trainer.global_step)


def _kept(trainer: Any) -> list[ModelCheckpoint]:
    """Return the callbacks that are to leave a checkpoint."""
    return [callback for callback in of_kind(trainer, ModelCheckpoint) if callback.save_top_k]


def _empty(trainer: Any) -> list[ModelCheckpoint]:
    """Return those of them that have saved none in this fit, see `end_last_fit`."""
    return [callback for callback in _kept(trainer) if not (callback._last_checkpoint_saved or trainer.fast_dev_run)]
