"""The learning rate over a training: one cycle, entered at the place where the trainer says that it is."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from anomalib_stc.host.callbacks import time_limits

RISE: Final = 0.1  # share of a training in which the rate rises
FIRST: Final = 1 / 25  # rate of the first step to the highest: torch's
LAST: Final = FIRST / 1e4  # and of the last: torch's


class Place(NamedTuple):
    """Where a training is: the share of it that is done, and the share that one step is, 0 where nobody knows."""

    done: float
    step: float = 0.0


def one_cycle(place: Place) -> float:
    """Return the rate at a place of the training, as a share of the highest.

    It is that of torch's `OneCycleLR`: a cosine up, then a cosine down until the last step. In ten steps or fewer there
    is no way up, where torch's divides by zero or never gets there.
    """
    top, end = max(0.0, RISE - place.step), 1 - place.step
    done = min(place.done, end)
    if done < top:
        return _cosine(FIRST, 1, done / top)
    return _cosine(1, LAST, (done - top) / (end - top)) if end > top else 1.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)


def place(trainer: Trainer, images: int, share: float = 0.0) -> Place:
    """Return where a trainer is in its fit; what ends the fit first counts: epochs, steps or time.

    Everything is read anew, so a training may become longer or shorter, and its loader another. Where no end is known,
    this is the way up of a training of the given number of images, and no more.

    Args:
        trainer: The trainer, in a fit.
        images: Training images of a training of the default length.
        share: What is done of the step that is being made, in [0, 1).
    """
    ends = [end for end in (_of_epochs(trainer, share), _of_steps(trainer, share), _of_time(trainer)) if end]
    if ends:
        return max(ends)
    return Place(min(RISE, (trainer.global_step + share) * _images_of_step(trainer) / images))


def tell_if_endless(trainer: Trainer, images: int) -> None:
    """Log what becomes of the rate where nothing says when a fit ends."""
    if not any((_of_epochs(trainer, 0), _of_steps(trainer, 0), _of_time(trainer))):
        rank_zero_info(
            f"The end of this training is not known: the learning rate rises over the first {RISE * images:.0f} images "
            "and then stays; set trainer.max_epochs, max_steps or max_time to let it fall."
        )


def _of_epochs(trainer: Trainer, share: float) -> Place | None:
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    batches, epochs = trainer.num_training_batches, trainer.max_epochs or -1
    if epochs < 0 or batches == math.inf:
        return None
    steps = max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    loop = trainer.fit_loop.epoch_loop.automatic_optimization
    done = loop.optim_progress.optimizer.step.current.completed + share
    return Place((trainer.current_epoch + done / steps) / epochs, 1 / (steps * epochs))


def _of_steps(trainer: Trainer, share: float) -> Place | None:
    steps = trainer.max_steps
    return Place((trainer.global_step + share) / steps, 1 / steps) if steps > 0 else None


def _of_time(trainer: Trainer) -> Place | None:
    """The first process's time holds for all: their rates have to be the same."""
    spent = [_spent(timer) for timer in time_limits(trainer)]
    return Place(trainer.strategy.broadcast(max(spent))) if spent else None


def _spent(timer: Timer) -> float:
    elapsed = timer.time_elapsed()
    return elapsed / max(elapsed, elapsed + (timer.time_remaining() or 0.0), 1e-9)


def _images_of_step(trainer: Trainer) -> int:
    batch = getattr(trainer.train_dataloader, "batch_size", None) or 1
    return batch * trainer.accumulate_grad_batches * trainer.world_size


class Cycle(LRScheduler):
    """Sets the rates of one cycle; it counts nothing, so there is nothing of it to save.

    Args:
        optimizer: The optimiser.
        highest: Returns the highest rate of each group of its parameters.
        place: Returns where the training is, given the share that is done of the step that is being made.
    """

    def __init__(
        self, optimizer: Optimizer, highest: Callable[[], Sequence[float]], place: Callable[[float], Place]
    ) -> None:
        self.highest = highest
        self.place = place
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Return the rates for the next step."""
        return self._rates(0.0)

    def move(self, share: float) -> None:
        """Set the rates for what is left of a step of which a share, in [0, 1), is done.

        A batch can be trained on in several steps: without this the first and the last of a short training of large
        batches would all have the lowest rates.
        """
        self._last_lr = self._rates(share)
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate

    def _rates(self, share: float) -> list[Any]:
        height = one_cycle(self.place(share))
        return [rate * height for rate in self.highest()]

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the trainer's own counters say where the training is."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing from a checkpoint."""
