"""What all models of this package share as models of anomalib: steps, optimiser, before and after training."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from anomalib import LearningType
from anomalib.data import Batch
from anomalib.post_processing import PostProcessor
from lightning.pytorch import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor, nn

from anomalib_stc.host.batch import with_reconstruction
from anomalib_stc.host.calibration import HoldoutCalibration
from anomalib_stc.host.export import ExactExport
from anomalib_stc.host.length import OneCycle, chunks, set_default_length
from anomalib_stc.host.post_processor import NormalPostProcessor
from anomalib_stc.host.pre_processor import ExactPreProcessor
from anomalib_stc.host.trained import SCORED_BY, check_same_score, check_trained, scored_by
from anomalib_stc.host.visualizer import ReconstructionVisualizer
from anomalib_stc.parts.checks import check
from anomalib_stc.parts.losses import Losses
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import IMAGE_SIZE, STRIDE

EVERYTHING: Final = slice(None)
PREPARATION_IMAGES: Final = 48
DISCRIMINATOR_RATIO: Final = 0.1  # of the discriminator's learning rate to the generator's: P-Net


class ReconstructionModule(ExactExport):
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

    def set_up(self, learning_rate: float, train_images: int, holdout: float, false_alarm_rate: float) -> None:
        """Keep what training needs; arguments as every model's.

        Raises:
            ValueError: If one is out of range.
        """
        check("Learning rate", learning_rate, learning_rate > 0, "more than 0")
        check("False alarm rate", false_alarm_rate, 0 < false_alarm_rate < 1, "a share between 0 and 1, as 0.01")
        self.learning_rate = learning_rate
        self.train_images = train_images
        self.register_buffer("prepared", torch.tensor(data=False))
        self.calibration = HoldoutCalibration(holdout, false_alarm_rate)

    def pictures(self, inferred: Any) -> dict[str, Tensor]:
        """Return what a test run shows of what was inferred: images (B, 3, H, W) by the name of their field."""
        return {"reconstruction": inferred.reconstruction}

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
        return cls.configure_pre_processor(image_size) if pre_processor is True else pre_processor

    @staticmethod
    def configure_pre_processor(image_size: int | tuple[int, int] | None = None) -> ExactPreProcessor:
        """Return the one resize of training, test and export."""
        return ExactPreProcessor(image_size or IMAGE_SIZE, stride=STRIDE)

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
        set_default_length(self.trainer, self.train_images)
        generator = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [{"params": generator}]
        if self.loss.discriminator is not None:
            groups.append({"params": list(self.loss.discriminator.parameters())})
        rates = [self.learning_rate, self.learning_rate * DISCRIMINATOR_RATIO][: len(groups)]
        optimizer = torch.optim.Adam(groups, lr=self.learning_rate, betas=(0.5, 0.99))
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = OneCycle(optimizer, rates, total_steps=steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_callbacks(self) -> list[Callback]:
        """Return anomalib's own callbacks and the calibration."""
        callbacks: Any = super().configure_callbacks()
        return [*callbacks, self.calibration]

    def on_fit_start(self) -> None:
        """Load the backbone, unless a checkpoint brought its own."""
        if not self.prepared:
            self.model.features.load()

    def on_train_start(self) -> None:
        """Prepare, unless a checkpoint brought what comes of it."""
        if self.prepared:
            return
        dataset: Any = self.calibration.training
        step = max(1, len(dataset) // PREPARATION_IMAGES)
        some = dataset.subsample(list(range(0, len(dataset), step))[:PREPARATION_IMAGES])
        self.model.prepare(list(self.calibration.images(self, some)))
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
                if isinstance(cycle, OneCycle):  # a user's optimisers may have another schedule, or none
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
        self.log("train_loss", total, prog_bar=True, batch_size=len(image))
        return total

    def on_train_epoch_end(self) -> None:
        """Log how the memories were used: dead items and the effective number of items."""
        for name, memory in self.model.memories.items():
            usage = memory.pop_usage()
            self.log_dict({f"memory_{name}_{key}": value for key, value in usage.items()}, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the arguments that scales and thresholds depend on: `load_from_checkpoint` overwrites the host's."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[SCORED_BY] = scored_by(self.hparams)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse arguments that would score by other rules than the checkpoint's scales and thresholds."""
        super().on_load_checkpoint(checkpoint)
        check_same_score(type(self), scored_by(self.hparams), checkpoint.get(SCORED_BY, {}))

    def on_validation_start(self) -> None:
        """Refuse the untrained; in a fit the calibration has come before, and a check before it is of no scores."""
        if not self.trainer.sanity_checking:
            check_trained(self)

    def on_test_start(self) -> None:
        """Refuse the untrained."""
        check_trained(self)

    def on_predict_start(self) -> None:
        """Refuse the untrained."""
        check_trained(self)

    def validation_step(self, batch: Batch, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Return the batch with its scores and maps, from which anomalib takes thresholds."""
        del args, kwargs
        with self.full_precision():
            return batch.update(**self.model(batch.image)._asdict())

    def test_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the batch with its scores, maps and reconstructions."""
        del args, kwargs
        with self.full_precision():
            inferred = self.model.infer(batch.image)
            predictions = self.model.predict(batch.image, inferred)
        pictures = {name: picture.clamp(0, 1) for name, picture in self.pictures(inferred).items()}
        return with_reconstruction(batch, predictions, **pictures)

    def full_precision(self) -> torch.autocast:
        """Return a context in which scores are those of the exported graph, also where training is mixed."""
        return torch.autocast(self.device.type, enabled=False)

    def predict_step(self, batch: Batch, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Return the same as a test step."""
        return self.test_step(batch, *args, **kwargs)
