"""STCM as a model of anomalib: steps, optimiser, and what happens before and after training."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from anomalib import LearningType
from anomalib.data import Batch
from anomalib.metrics import Evaluator
from anomalib.models import AnomalibModule
from anomalib.post_processing import PostProcessor
from anomalib.visualization import Visualizer
from lightning.pytorch import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor, nn

from anomalib_stc.components.calibration import HoldoutCalibration
from anomalib_stc.components.discriminator import PatchDiscriminator
from anomalib_stc.components.features import texture_features
from anomalib_stc.components.post_processor import NormalPostProcessor
from anomalib_stc.components.pre_processor import ExactPreProcessor
from anomalib_stc.components.reconstruction_batch import with_reconstruction
from anomalib_stc.components.scoring import AnomalyScore
from anomalib_stc.components.training_length import set_default_length
from anomalib_stc.components.visualizer import ReconstructionVisualizer
from anomalib_stc.models.stcm.branch import Branch
from anomalib_stc.models.stcm.loss import StcmLoss
from anomalib_stc.models.stcm.preparation import prepare
from anomalib_stc.models.stcm.structures import extractors
from anomalib_stc.models.stcm.torch_model import StcmModel

STRIDE = 16
PREPARATION_IMAGES = 48


class Stcm(AnomalibModule):
    """Texture inferred from two structures through a memory of normal correspondences.

    After Zhou et al., *Memorizing Structure-Texture Correspondence for Image Anomaly Detection*, IEEE TNNLS 33(6),
    2022 (its abstract) and its predecessor P-Net; not a replication.

    Args:
        image_size: Height and width the images are resized to, multiples of 16 from 64; one number for a square.
        backbone: timm name or ``local-dir:FOLDER`` of the frozen texture features, or ``none`` to use the pixels.
        semantic: Semantic structure: ``parts`` (k-means of the features, a substitute for labels), the path of a
            `torch.export` program, the dotted path of an `nn.Module` class, or ``none``.
        semantic_args: Arguments of that class.
        low_level: Use edges as the second structure.
        parts: Number of parts.
        part_temperature: Sharpness of the parts' assignment.
        memory_items: Items of every memory; 0 for none (ablation).
        memory_temperature: Start of the memories' learned temperature.
        memory_shrink: Addresses below this many equal shares are cut.
        memory_top_k: Keep this many addresses only; ``None`` keeps all.
        fusion: Fuse the branches by learned attention; ``False`` takes their mean (ablation).
        key_channels: Channels of the queries.
        widths: Channels of the decoders at strides 8 and 4.
        pixel_loss: Weight of the L1 loss of the fused image.
        branch_loss: Weight of the L1 loss of the branches' images.
        value_loss: Weight of the distance of the memories' read-outs to the texture features.
        structure_loss: Weight of the difference of the structures of image and reconstruction.
        adversarial_loss: Weight of the adversarial loss; 0 for no discriminator.
        pixel_score: Weight of the pixel residual in the map.
        low_level_score: Weight of the difference of the edges of image and reconstruction in the map.
        semantic_score: The same of the semantic structures; with ``parts`` it costs a second pass of the backbone.
        correspondence_score: Weight of the distance of the fused read-out to the image's features in the map.
        smoothing: Width of the Gaussian on the map, in pixels.
        image_score: Image score from the map: ``max``, or ``mean`` for diffuse anomalies.
        learning_rate: Largest learning rate of Adam.
        discriminator_ratio: Learning rate of the discriminator relative to that.
        weight_decay: Weight decay of Adam.
        train_images: Images to show in all where the trainer was told no length.
        holdout: Share of the normal training images kept out for calibration and thresholds.
        normal_quantile: Threshold without anomalies in validation: this quantile of the held-out scores.
        pre_processor: See `AnomalibModule`.
        post_processor: See `AnomalibModule`.
        evaluator: See `AnomalibModule`; `AuproEvaluator` adds AUPRO.
        visualizer: See `AnomalibModule`.

    Raises:
        ValueError: If an argument is out of range or a network cannot be built; the sentence says which.
    """

    model: StcmModel
    loss: StcmLoss
    prepared: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 256,
        backbone: str = "tf_efficientnet_lite0",
        semantic: str = "parts",
        semantic_args: dict[str, Any] | None = None,
        low_level: bool = True,
        parts: int = 256,
        part_temperature: float = 30.0,
        memory_items: int = 200,
        memory_temperature: float = 10.0,
        memory_shrink: float = 1.0,
        memory_top_k: int | None = None,
        fusion: bool = True,
        key_channels: int = 48,
        widths: tuple[int, int] = (32, 16),
        pixel_loss: float = 1.0,
        branch_loss: float = 1.0,
        value_loss: float = 1.0,
        structure_loss: float = 0.5,
        adversarial_loss: float = 0.1,
        pixel_score: float = 0.5,
        low_level_score: float = 0.25,
        semantic_score: float = 0.0,
        correspondence_score: float = 4.0,
        smoothing: float = 4.0,
        image_score: str = "max",
        learning_rate: float = 2e-3,
        discriminator_ratio: float = 0.1,
        weight_decay: float = 0.0,
        train_images: int = 800,
        holdout: float = 0.1,
        normal_quantile: float = 0.99,
        pre_processor: nn.Module | bool = True,
        post_processor: nn.Module | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        if pre_processor is True:
            pre_processor = self.configure_pre_processor(image_size)
        super().__init__(pre_processor, post_processor, evaluator, visualizer)
        features = texture_features(backbone)
        structures = extractors(
            features,
            semantic=semantic,
            semantic_args=semantic_args,
            parts=parts,
            part_temperature=part_temperature,
            low_level=low_level,
        )
        structure_weights = {"low_level": low_level_score, "semantic": semantic_score}
        self.model = StcmModel(
            features,
            structures,
            AnomalyScore(
                {
                    "pixel": pixel_score,
                    "correspondence": correspondence_score,
                    **{name: weight for name, weight in structure_weights.items() if name in structures},
                },
                smoothing,
                image_score,
            ),
            memory_items=memory_items,
            key_channels=key_channels,
            widths=widths,
            temperature=memory_temperature,
            shrink=memory_shrink,
            top_k=memory_top_k,
            fusion=fusion,
        )
        self.loss = StcmLoss(
            {
                "pixel": pixel_loss,
                "branch": branch_loss,
                "value": value_loss,
                "structure": structure_loss if structures else 0.0,
                "adversarial": adversarial_loss,
            },
            PatchDiscriminator() if adversarial_loss else None,
        )
        self.register_buffer("prepared", torch.tensor(data=False))
        self.calibration = HoldoutCalibration(holdout, normal_quantile)

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """Arguments of the trainer that this model needs."""
        return {"num_sanity_val_steps": 0}

    @property
    def learning_type(self) -> LearningType:
        """Normal images only."""
        return LearningType.ONE_CLASS

    @staticmethod
    def configure_pre_processor(image_size: int | tuple[int, int] | None = None) -> ExactPreProcessor:
        """Return the one resize of training, test and export."""
        return ExactPreProcessor(image_size or 256, stride=STRIDE)

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
        settings: Any = self.hparams
        set_default_length(self.trainer, settings.train_images)
        rate = settings.learning_rate
        generator = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [{"params": generator}]
        if self.loss.discriminator is not None:
            groups.append({"params": list(self.loss.discriminator.parameters())})
        rates = [rate, rate * settings.discriminator_ratio][: len(groups)]
        optimizer = torch.optim.Adam(groups, lr=rate, betas=(0.5, 0.99), weight_decay=settings.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_callbacks(self) -> list[Callback]:
        """Return anomalib's own callbacks and the calibration."""
        callbacks: Any = super().configure_callbacks()
        return [*callbacks, self.calibration]

    def setup(self, stage: str) -> None:
        """Load the backbone before a first fit; a checkpoint brings its own."""
        if stage == "fit" and not self.prepared:
            self.model.features.load()

    def on_train_start(self) -> None:
        """Fit parts and memories, unless a checkpoint brought them; the same on every process."""
        if self.prepared:
            return
        dataset: Any = self.calibration.training
        step = max(1, len(dataset) // PREPARATION_IMAGES)
        some = dataset.subsample(list(range(0, len(dataset), step))[:PREPARATION_IMAGES])
        prepare(self.model, list(self.calibration.images(self, some)))
        self.prepared.fill_(value=True)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the sum of all losses, each logged by its name."""
        del batch_idx
        terms = self.loss(batch.image, self.model(batch.image), self.model.extract)
        self.log_dict({f"train_{name}": term for name, term in terms.items()}, batch_size=len(batch.image))
        total = torch.stack(list(terms.values())).sum()
        self.log("train_loss", total, prog_bar=True, batch_size=len(batch.image))
        return total

    def on_train_epoch_end(self) -> None:
        """Log how the memories were used: dead items and the effective number of items."""
        for name, branch in cast("Mapping[str, Branch]", self.model.branches).items():
            if branch.memory is not None:
                usage = branch.memory.pop_usage()
                self.log_dict({f"memory_{name}_{key}": value for key, value in usage.items()}, sync_dist=True)

    def validation_step(self, batch: Batch, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Return the batch with its scores and maps, from which anomalib takes thresholds."""
        del args, kwargs
        return batch.update(**self.model(batch.image)._asdict())

    def test_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the batch with its scores, maps and reconstructions."""
        del args, kwargs
        output = self.model.infer(batch.image)
        predictions = self.model.predict(batch.image, output)
        return with_reconstruction(batch, predictions, output.reconstruction.clamp(0, 1))

    def predict_step(self, batch: Batch, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Return the same as a test step."""
        return self.test_step(batch, *args, **kwargs)
