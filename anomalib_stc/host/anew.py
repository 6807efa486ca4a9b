"""A second fit of one trainer: whether it goes on with the first, and how to begin anew where it does not."""

from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loops.utilities import _reset_progress
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities import rank_zero_info

from anomalib_stc.host.callbacks import of_kind, time_limits

Limits = tuple[int | None, int] | None  # epochs and steps, where the user gave them
_LAST: Final[WeakKeyDictionary[Trainer, tuple[ref[LightningModule], Limits]]] = WeakKeyDictionary()  # of its last fit


def end_last_fit(trainer: Trainer) -> None:
    """Let callbacks forget what only the last fit could need, before this one's checkpoint is loaded.

    Lightning's clock would else go on from the end of the last fit to the start of this one, which is less than
    nothing, and a checkpoint would be taken for written where this fit comes to the same number of steps.
    """
    for timer in of_kind(trainer, Timer):
        timer.load_state_dict(timer.state_dict())  # the time up to now
        timer._start_time[RunningStage.TRAINING] = timer._end_time[RunningStage.TRAINING] = None
    for checkpoint in of_kind(trainer, ModelCheckpoint):
        checkpoint._last_global_step_saved = 0
        checkpoint._last_checkpoint_saved = ""
        checkpoint._defer_save_until_validation = False


def begin_anew_unless_it_goes_on(trainer: Trainer, module: LightningModule, told: bool) -> None:
    """Set a trainer that has been used before back to its start, as its counters say nothing about this fit.

    A fit goes on from a checkpoint, and where the user has changed the length since the last fit of the same model and
    something is left of it.

    Args:
        trainer: The trainer of a fit that is about to start, its checkpoint loaded.
        module: The model.
        told: Whether the user gave a length.
    """
    last, before = _LAST.get(trainer, (lambda: None, None))
    limits = (trainer.max_epochs, trainer.max_steps) if told else None
    _LAST[trainer] = (ref(module), limits)
    goes_on = last() is module and limits not in (None, before) and not _used_up(trainer)
    if trainer.ckpt_path is None and _has_begun(trainer) and not trainer.strategy.broadcast(goes_on):
        rank_zero_info(
            "This trainer has trained before and begins anew: give a checkpoint or a greater length to go on."
        )
        begin_anew(trainer)


def begin_anew(trainer: Trainer) -> None:
    """Set counters, and what callbacks remember of scores, files and time, to what they are in a new trainer."""
    _reset_progress(trainer.fit_loop)
    trainer.fit_loop.epoch_loop._batches_that_stepped = 0
    trainer.should_stop = False
    for timer in of_kind(trainer, Timer):
        timer.load_state_dict(Timer().state_dict())
    for stopping in of_kind(trainer, EarlyStopping):
        unused = EarlyStopping(stopping.monitor, patience=stopping.patience, mode=stopping.mode)
        stopping.load_state_dict(unused.state_dict())
    for checkpoint in of_kind(trainer, ModelCheckpoint):
        empty = ModelCheckpoint(monitor=checkpoint.monitor, mode=checkpoint.mode)
        empty.dirpath = checkpoint.dirpath
        checkpoint.load_state_dict(empty.state_dict())


def _has_begun(trainer: Trainer) -> bool:
    return trainer.global_step > 0 or trainer.fit_loop.epoch_progress.current.ready > 0


def _used_up(trainer: Trainer) -> bool:
    epoch: Any = trainer.fit_loop.epoch_progress.current
    limits = [(epoch.processed, trainer.max_epochs or -1), (trainer.global_step, trainer.max_steps)]
    late = any((timer.time_remaining() or 0.0) <= 0 for timer in time_limits(trainer))
    return late or any(0 < limit <= done for done, limit in limits)
