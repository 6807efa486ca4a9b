"""STCM as a model of anomalib: its arguments."""

from typing import Any

from anomalib.metrics import Evaluator
from anomalib.models import AnomalibModule
from anomalib.visualization import Visualizer
from torch import Tensor, nn

from anomalib_stc.host.module import ReconstructionModule
from anomalib_stc.models.stcm.loss import StcmLoss
from anomalib_stc.models.stcm.preparation import prepare
from anomalib_stc.models.stcm.structures import extractors
from anomalib_stc.models.stcm.torch_model import StcmModel
from anomalib_stc.parts.discriminator import PatchDiscriminator
from anomalib_stc.parts.features import texture_features
from anomalib_stc.parts.score import AnomalyScore


class Stcm(ReconstructionModule, AnomalibModule):  # type: ignore[misc] # anomalib's own to_onnx differs from Lightning's
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
        image_score: Image score from the map: ``max``, ``top`` (mean of the highest hundredth), or ``mean`` for diffuse
            anomalies.
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
        self.calibrate_on_held_out(holdout, normal_quantile)

    def losses(self, image: Tensor) -> dict[str, Tensor]:
        """Return the weighted losses of images (B, 3, H, W) by name."""
        return self.loss(image, self.model(image), self.model.extract)

    def prepare(self, images: list[Tensor]) -> None:
        """Fit parts and memories."""
        prepare(self.model, images)
