"""How long to train where the trainer was not told, how often to validate then, and how many images a step looks at."""

import math
from itertools import pairwise
from typing import Any, Final

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_info

from anomalib_stc.host.anew import begin_anew_unless_it_goes_on, end_last_fit
from anomalib_stc.host.callbacks import of_kind, time_limits
from anomalib_stc.host.last_checkpoint import save_where_nothing_was_saved, tell_where_nothing_was_saved

STEP_IMAGES: Final = 8  # more images a step would leave fewer steps of a short training
VALIDATIONS: Final = (4, 5, 3)  # at the default length: the first that lengthens it least
OF_TRAINING: Final = ("train_", "memory_")  # beginnings of the names of what is logged in training


def untold(trainer: Trainer) -> bool:
    """Return whether a trainer was given no length; only before a fit, which writes 1000 epochs where nothing stood."""
    return trainer.max_epochs is None and trainer.max_steps == -1 and not time_limits(trainer)


def chunks(count: int) -> list[slice]:
    """Cut a batch of some images into equal chunks of about `STEP_IMAGES`, for a step each.

    A training of a given number of images would else have a quarter of the steps at anomalib's own batch of 32, which
    loses a tenth of AUPRO and more.
    """
    number = max(1, round(count / STEP_IMAGES))
    bounds = [count * chunk // number for chunk in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


class Length(Callback):
    """Gives a fit its length where it has none, sees to its end, and leaves nothing of it in the trainer.

    Comes after the callback that holds images out, whose images are not trained on.

    Args:
        untold: Whether the trainer was given no length, see `untold`.
    """

    def __init__(self, untold: bool) -> None:
        self.untold = untold
        self._images = 0  # that the length was made for
        self._undo: list[tuple[Any, str, Any]] = []  # object, attribute, value before
        self._training = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Set the default length before anything is made that depends on it."""
        if stage != "fit":
            return
        end_last_fit(trainer)
        if self.untold:
            self._set_length(trainer, pl_module.train_images)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin anew after an earlier fit; a checkpoint may have brought another number of images, or another split."""
        if self.untold and (pl_module.train_images != self._images or trainer.train_dataloader is None):
            self._restore(trainer)
            self._set_length(trainer, pl_module.train_images)
        begin_anew_unless_it_goes_on(trainer, pl_module, told=not self.untold)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there is something to save from now on."""
        self._training = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a checkpoint."""
        save_where_nothing_was_saved(trainer)
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say where an interrupted training leaves no checkpoint, and nothing of it in the trainer."""
        if self._training:
            tell_where_nothing_was_saved(trainer)
        self._leave(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave nothing of the model in the trainer."""
        self._leave(trainer, pl_module)

    def _set_length(self, trainer: Trainer, images: int) -> None:
        self._images = images
        epochs, every = default_length(trainer, images)
        trainer.fit_loop.max_epochs = epochs
        if every != trainer.check_val_every_n_epoch:
            self._set(trainer, "check_val_every_n_epoch", every)
            for callback in of_kind(trainer, EarlyStopping):
                if not callback.monitor.startswith(OF_TRAINING):
                    self._set(callback, "_check_on_train_epoch_end", False)
        rank_zero_info(f"No length was given: training {epochs} epochs; set trainer.max_epochs to change it.")

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _leave(self, trainer: Any, pl_module: LightningModule) -> None:
        """Take the parts of this model, which would act on the next one's batches, from the trainer's callbacks."""
        self._restore(trainer)
        parts = {id(part) for part in (self, *pl_module.children(), *vars(pl_module).values())}
        trainer.callbacks = [callback for callback in trainer.callbacks if id(callback) not in parts]

    def _restore(self, trainer: Trainer) -> None:
        if self.untold:
            trainer.fit_loop.max_epochs = None
        while self._undo:
            setattr(*self._undo.pop())


def default_length(trainer: Trainer, images: int) -> tuple[int, int | None]:
    """Return for how many epochs to train, and after how many of them to validate.

    Images, not epochs, make the time the same for any batch size and set size, and `chunks` makes the number of steps
    the same; Lightning's own fallback, 1000 epochs, means hours here. About four validations, the last at the very
    end, write checkpoints on the way, and let an early stop look at them. Where the user has set a rhythm, and where no
    validation runs, it stays: Lightning then saves at the end of every epoch.

    Args:
        trainer: The trainer of a fit, its data ready.
        images: Training images to show in all.

    Raises:
        ValueError: If nobody knows how many images an epoch has.
    """
    epochs = max(math.ceil(images / _images_of_epoch(trainer)), trainer.min_epochs or 1)
    every = trainer.check_val_every_n_epoch
    whole_epochs = getattr(trainer, "val_check_interval", None) == 1  # Lightning leaves it out where it is a time
    if every != 1 or not whole_epochs or not _validates(trainer):
        return epochs, every
    rhythms = [math.ceil(epochs / count) for count in VALIDATIONS]
    every = min(rhythms, key=lambda rhythm: math.ceil(epochs / rhythm) * rhythm)
    return math.ceil(epochs / every) * every, every


def _images_of_epoch(trainer: Trainer) -> int:
    trainer.fit_loop.setup_data()
    loader: Any = trainer.train_dataloader
    if loader is None:
        return 1  # and none of it is trained on
    batches = trainer.num_training_batches
    if batches == math.inf:
        msg = "No length was given, and that of the training images is not known: set trainer.max_steps."
        raise ValueError(msg)
    batch = getattr(loader, "batch_size", None)
    shown = (batch or 1) * int(batches)
    if batch and batches == len(loader) and not loader.drop_last:
        shown = min(shown, len(loader.sampler))  # the last batch may have empty places
    return max(1, shown * trainer.world_size)


def _validates(trainer: Trainer) -> bool:
    """Return whether there is a batch to validate on: a loader may be there and empty."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    if not trainer.enable_validation:
        return False
    loop.setup_data()
    return sum(loop.max_batches) > 0
