"""What all models of this package share as models of anomalib: steps, optimiser, before and after training."""

from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Any, Final

import torch
from anomalib import LearningType
from anomalib.data import Batch
from anomalib.post_processing import PostProcessor
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor, nn

from anomalib_stc.host.batch import with_reconstruction
from anomalib_stc.host.calibration import HoldoutCalibration
from anomalib_stc.host.checkpoint import WholeCheckpoint
from anomalib_stc.host.export import ExactExport
from anomalib_stc.host.files import warn_deep
from anomalib_stc.host.holdout import check_share
from anomalib_stc.host.length import Length, chunks, untold
from anomalib_stc.host.post_processor import NormalPostProcessor
from anomalib_stc.host.pre_processor import ExactPreProcessor, exactly
from anomalib_stc.host.precision import full_precision
from anomalib_stc.host.schedule import Cycle, place, tell_if_endless
from anomalib_stc.host.state import same_on_all_ranks
from anomalib_stc.host.trained import check_trained
from anomalib_stc.host.visualizer import ReconstructionVisualizer, drawn_fields
from anomalib_stc.parts.bank import IMAGES
from anomalib_stc.parts.checks import check
from anomalib_stc.parts.losses import Losses
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import IMAGE_SIZE

EVERYTHING: Final = slice(None)
DISCRIMINATOR_RATIO: Final = 0.1  # of the discriminator's learning rate to the generator's: P-Net
BETAS: Final = (0.5, 0.99)  # Adam's: a first one of .9 was worse or level, on two sets and three seeds


class ReconstructionModule(WholeCheckpoint, ExactExport):
    """What is common to models that rebuild the image and score what does not fit.

    anomalib finds direct subclasses of its module only, so this is none: a model inherits from this, then from that.
    Its constructor sets ``model`` and ``loss``, then calls `set_up`.
    """

    model: ScoredModel
    loss: Losses
    prepared: Tensor
    calibration: HoldoutCalibration
    learning_rate: float
    train_images: int
    _chunks: Sequence[slice] = (EVERYTHING,)  # of the batch, a step each
    _chunk = EVERYTHING  # the one of this step
    _untold = False  # whether its trainer was given no length
    _warned = False  # of an image with more than 8 bit, in this run

    def set_up(self, learning_rate: float, train_images: int, holdout: float, false_alarm_rate: float) -> None:
        """Keep what training needs; arguments as every model's.

        Raises:
            ValueError: If one is out of range.
        """
        check("Learning rate", learning_rate, 0 < learning_rate < inf, "more than 0")
        check("Train images", train_images, isinstance(train_images, int) and train_images > 0, "a number from 1")
        check("False alarm rate", false_alarm_rate, 0 < false_alarm_rate < 1, "a share between 0 and 1, as 0.05")
        check_share(holdout)
        self.learning_rate = learning_rate
        self.train_images = train_images
        self.register_buffer("prepared", torch.tensor(data=False))
        self.calibration = HoldoutCalibration(holdout, false_alarm_rate)

    def pictures(self, inferred: Any, drawn: Collection[str]) -> dict[str, Tensor]:
        """Return what a batch keeps of what was inferred, images (B, 3, H, W) in 0..1 by the name of their field.

        Args:
            inferred: What the network returned.
            drawn: Fields that a visualizer of this run draws; what is for pictures only is made only for these.
        """
        del drawn
        return {"reconstruction": inferred.reconstruction.clamp(0, 1)}

    @property
    def trainer(self) -> Trainer:
        """The trainer; of one that is about to fit it is noted whether it was given a length."""
        return super().trainer

    @trainer.setter
    def trainer(self, trainer: Trainer | None) -> None:
        self._untold = trainer is not None and untold(trainer)
        LightningModule.trainer.fset(self, trainer)  # type: ignore[attr-defined]

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """Arguments of the trainer that this model needs."""
        return {"num_sanity_val_steps": 0}

    @property
    def learning_type(self) -> LearningType:
        """Normal images only."""
        return LearningType.ONE_CLASS

    @classmethod
    def sized(cls, pre_processor: nn.Module | bool, image_size: int | tuple[int, int]) -> nn.Module | bool:
        """Return a pre-processor of the given size where none was given."""
        return cls.configure_pre_processor(image_size) if pre_processor is True else exactly(pre_processor)

    @staticmethod
    def configure_pre_processor(image_size: int | tuple[int, int] | None = None) -> ExactPreProcessor:
        """Return the one resize of training, test and export."""
        return ExactPreProcessor(image_size or IMAGE_SIZE)

    @staticmethod
    def configure_post_processor() -> PostProcessor:
        """Return thresholds that also work without anomalies in validation."""
        return NormalPostProcessor()

    @classmethod
    def configure_visualizer(cls) -> ReconstructionVisualizer:
        """Return pictures with the reconstruction."""
        return ReconstructionVisualizer()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam for both players at their own rates, one cycle over the whole training.

        Both losses go back in one pass and leave no gradient in the other's weights, so one optimiser steps both:
        gradient clipping, accumulation, step counts and resuming are Lightning's own.
        """
        generator = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [{"params": generator}]
        if self.loss.discriminator is not None:
            groups.append({"params": list(self.loss.discriminator.parameters())})
        optimizer = torch.optim.Adam(groups, lr=self.learning_rate, betas=BETAS)
        scheduler = Cycle(
            optimizer,
            lambda: [self.learning_rate, self.learning_rate * DISCRIMINATOR_RATIO][: len(groups)],
            lambda share: place(self.trainer, self.train_images, share),
        )
        tell_if_endless(self.trainer, self.train_images)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_callbacks(self) -> list[Callback]:
        """Return anomalib's own callbacks, the calibration, and what sees to the length of a fit."""
        callbacks: Any = super().configure_callbacks()
        return [*callbacks, self.calibration, Length(self._untold)]

    def setup(self, stage: str) -> None:
        """Refuse a precision in which nothing can be fitted.

        Raises:
            ValueError: If the weights themselves are to be in half precision.
        """
        self._warned = False
        precision = str(self.trainer.precision)
        fits = not precision.endswith("-true") or precision == "32-true"
        check("Precision", precision, fits, "32-true, bf16-mixed or 16-mixed: memories and thresholds need 32 bit")

    def on_fit_start(self) -> None:
        """Learn again after an evaluation."""
        self.train()

    def on_train_start(self) -> None:
        """Prepare from images of this training, drawn by the run's seed, unless it goes on from where it was.

        The backbone is loaded, unless a checkpoint brought its own. If the training goes on with other images, its bank
        has to know these: thresholds come from what it says of them.
        """
        if not self.prepared:
            self.model.features.load()
        self.calibration.normals.find(self.trainer)
        goes_on = self.trainer.global_step > 0
        if not goes_on or self.calibration.normals.mark != self.calibration.bank_mark:
            self._prepare(self.model.fill_bank if goes_on else self.model.prepare)
        self.calibration.note_bank(self)

    def _prepare(self, prepare: Callable[..., Any]) -> None:
        seed = self.trainer.strategy.broadcast(torch.initial_seed() % 2**31)
        with isolate_rng(), full_precision(self.device):
            held_out, training = self.calibration.normals.known(self, IMAGES, seed)
            prepare(training, seed, held_out)
        same_on_all_ranks(self)
        self.prepared.fill_(value=True)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Cut a large batch into chunks, unless the user wants larger steps still and accumulates gradients."""
        del batch_idx
        self._chunks = chunks(len(batch.image)) if self.trainer.accumulate_grad_batches == 1 else [EVERYTHING]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step once for every chunk of the batch; the trainer counts batches, the rate moves from chunk to chunk."""
        cycle: Any = self.lr_schedulers()
        try:
            for number, self._chunk in enumerate(self._chunks):  # noqa: B020 # the closure reads it
                if isinstance(cycle, Cycle):  # a user's optimisers may have another schedule, or none
                    cycle.move(number / len(self._chunks))
                super().optimizer_step(*args, **kwargs)
        finally:
            self._chunk = EVERYTHING

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the sum of all losses of a chunk of the batch, each logged by its name."""
        del batch_idx
        image = batch.image[self._chunk]
        terms = self.loss(image, self.model(image))
        self.log_dict({f"train_{name}": term for name, term in terms.items()}, batch_size=len(image))
        total = torch.stack(list(terms.values())).sum()
        self.log("train_loss", total, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(image))
        return total

    def on_train_epoch_end(self) -> None:
        """Log how the memories were used: dead items and the effective number of items."""
        for name, memory in self.model.memories.items():
            usage = memory.pop_usage()
            self.log_dict({f"memory_{name}_{key}": value for key, value in usage.items()}, sync_dist=True)

    def forward(self, batch: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return map, score, mask and label of images (B, 3, H, W) of any size, in 0..1, as exports do.

        Raises:
            ValueError: If the model is not trained, or trains, or an image is none in 0..1.
        """
        if torch.compiler.is_exporting():
            return super().forward(batch, *args, **kwargs)
        check_trained(self)
        check("Model", "one in training mode", not self.training, "one that is asked for scores: call model.eval()")
        with full_precision(self.device):
            return super().forward(batch, *args, **kwargs)

    def on_validation_epoch_start(self) -> None:
        """Refuse the untrained; in a fit the calibration has come before, or nobody looks at scores, as in a trial."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            check_trained(self)

    def on_test_start(self) -> None:
        """Refuse the untrained."""
        check_trained(self)

    def on_predict_start(self) -> None:
        """Refuse the untrained."""
        check_trained(self)

    def validation_step(self, batch: Any, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Return the batch with its scores and maps, from which anomalib takes thresholds."""
        del args, kwargs
        self._warned = self._warned or warn_deep(batch.image_path or [])
        with full_precision(self.device):
            return batch.update(**self.model(batch.image)._asdict())

    def test_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the batch with its scores, maps and reconstructions."""
        del args, kwargs
        self._warned = self._warned or warn_deep(batch.image_path or [])
        with full_precision(self.device):
            inferred = self.model.infer(batch.image)
            predictions = self.model.predict(batch.image, inferred)
            pictures = self.pictures(inferred, drawn_fields(self._trainer))
        return with_reconstruction(batch, predictions, **pictures)

    def predict_step(self, batch: Batch, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Return the same as a test step."""
        return self.test_step(batch, *args, **kwargs)
