"""I3AD as a model of anomalib: its arguments, and what a training step does."""

from typing import Any

import torch
from anomalib.metrics import Evaluator
from anomalib.models import AnomalibModule
from anomalib.visualization import Visualizer
from torch import Tensor, nn

from anomalib_stc.host.module import ReconstructionModule
from anomalib_stc.host.pre_processor import check_size
from anomalib_stc.models.i3ad.adaptive_mask import AdaptiveMask
from anomalib_stc.models.i3ad.codebook import Codebook
from anomalib_stc.models.i3ad.inpainting import Inpainting
from anomalib_stc.models.i3ad.loss import I3adLoss
from anomalib_stc.models.i3ad.torch_model import I3adModel, Turns
from anomalib_stc.models.i3ad.training_masks import TrainingMasks
from anomalib_stc.models.i3ad.turns import SignalToNoise, defects, drawn
from anomalib_stc.parts.checks import check
from anomalib_stc.parts.discriminator import PatchDiscriminator
from anomalib_stc.parts.features import texture_features
from anomalib_stc.parts.score import AnomalyScore

SCORED = "for what the map is made of: raise it, or set its score to 0"


class I3ad(ReconstructionModule, AnomalibModule):  # type: ignore[misc] # anomalib's own to_onnx differs from Lightning's
    """Inpainting of what looks anomalous by structural similarity, by turns.

    After Nakanishi et al., *Iterative Image Inpainting with Structural Similarity Mask for Anomaly Detection*, 2020
    (its abstract and introduction); not a replication.

    Args:
        image_size: Height and width the images are resized to, multiples of 16 from 64; one number for a square.
        backbone: timm name or ``local-dir:FOLDER`` of the frozen texture features, or ``none`` to use the pixels.
        colour: Weight of the mean colour of every cell beside those features; 0 for none.
        inpainting: Fill hidden pixels; otherwise a plain autoencoder of the same size (ablation, no iterations).
        widths: Channels of the network at strides 4, 8 and 16.
        codebook_items: Clusters of normal features, of which the network guesses one for every cell.
        codebook_sharpness: The higher, the less the guess counts beside the nearest cluster.
        mask_area: Least and largest share of the image that training hides.
        mask_cells: Least and largest side of the cells that training hides, in pixels.
        grid_masks: Complementary masks of the first turn.
        grid_cell: Side of their cells in pixels, a multiple of 8.
        iterations: Turns after the first one.
        masked_by: What makes the next mask: structural similarity of ``pixels``, or also of ``features``; ``l1`` for
            ablation.
        mask_quantile: Share of the cells of held-out normal images that is below the threshold; dilation hides more.
        mask_dilation: Cells of 8 pixels that are hidden around a suspicious one.
        mask_cap: Largest share of the image that is hidden.
        aggregation: Residual from those of all turns: ``last``, ``mean``, ``mean_first`` (mean plus first), or
            ``mean_kept`` (mean, where a place that a turn did not hide counts as before, not as zero).
        masked_loss: Weight of the L1 loss of hidden pixels.
        unmasked_loss: Weight of the L1 loss of visible pixels.
        similarity_loss: Weight of (1 - SSIM) / 2 of the inpainted image.
        feature_loss: Weight of how unlikely the image's features are under the network's guess.
        doubt_loss: Weight of the likelihood of the colours' error, which teaches the network to expect it.
        adversarial_loss: Weight of the hinge loss of a patch discriminator; 0 for no discriminator.
        similarity_score: Weight of (1 - SSIM) / 2 in the map.
        feature_score: Weight of how unlikely features are in the map.
        colour_score: Weight of the L1 residual, over the error that the network expects, in the map.
        smoothing: Width of the Gaussian on the map, in pixels.
        image_score: Image score from the map: ``max``, ``top`` (mean of the highest hundredth), or ``mean`` for diffuse
            anomalies.
        log_snr: Log the signal-to-noise ratio of every turn in a test run with masks.
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

    model: I3adModel
    loss: I3adLoss

    def __init__(
        self,
        image_size: int | tuple[int, int] = 256,
        backbone: str = "tf_efficientnet_lite0",
        colour: float = 1.0,
        inpainting: bool = True,
        widths: tuple[int, int, int] = (32, 64, 96),
        codebook_items: int = 200,
        codebook_sharpness: float = 40.0,
        mask_area: tuple[float, float] = (0.1, 0.6),
        mask_cells: tuple[int, int] = (8, 32),
        grid_masks: int = 3,
        grid_cell: int = 32,
        iterations: int = 1,
        masked_by: str = "features",
        mask_quantile: float = 0.97,
        mask_dilation: int = 1,
        mask_cap: float = 0.5,
        aggregation: str = "mean_kept",
        masked_loss: float = 1.0,
        unmasked_loss: float = 0.1,
        similarity_loss: float = 0.5,
        feature_loss: float = 1.0,
        doubt_loss: float = 0.1,
        adversarial_loss: float = 0.05,
        similarity_score: float = 0.0,
        feature_score: float = 4.0,
        colour_score: float = 1.0,
        smoothing: float = 4.0,
        image_score: str = "top",
        log_snr: bool = False,
        learning_rate: float = 2e-3,
        discriminator_ratio: float = 0.1,
        weight_decay: float = 0.0,
        train_images: int = 600,
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
        check("Grid masks", grid_masks, grid_masks > 1, "two or more")
        side = max(check_size(image_size, stride=1))
        check("Grid cell", grid_cell, grid_cell < side, f"less than the image's {side} pixels")
        check("Feature loss", feature_loss, feature_loss > 0 or feature_score == 0, f"more than 0 {SCORED}")
        check("Doubt loss", doubt_loss, doubt_loss > 0 or colour_score == 0, f"more than 0 {SCORED}")
        self.training_masks = TrainingMasks(mask_area, mask_cells)
        features = texture_features(backbone, colour)
        codebook = Codebook(codebook_items, features.channels, codebook_sharpness)
        score = {"similarity": similarity_score, "feature": feature_score, "colour": colour_score}
        self.model = I3adModel(
            features,
            codebook,
            Inpainting(widths, codebook_items, skips=inpainting),
            AdaptiveMask(mask_quantile, mask_dilation, mask_cap),
            AnomalyScore(score, smoothing, image_score),
            iterations=iterations,
            grid=(grid_masks if inpainting else 0, grid_cell),
            masked_by=masked_by,
            aggregation=aggregation,
        )
        self.loss = I3adLoss(
            {
                "masked": masked_loss,
                "unmasked": unmasked_loss,
                "similarity": similarity_loss,
                "feature": feature_loss,
                "doubt": doubt_loss,
                "adversarial": adversarial_loss,
            },
            PatchDiscriminator(bias=False) if adversarial_loss else None,
        )
        self.snr = SignalToNoise(iterations + 1) if log_snr else None
        self.calibrate_on_held_out(holdout, normal_quantile)

    def losses(self, image: Tensor) -> dict[str, Tensor]:
        """Return the weighted losses of images (B, 3, H, W), parts of them hidden, by name."""
        everything = torch.ones_like(image[:, :1])
        plain = self.model.grid[0] == 0  # an autoencoder sees everything, and is asked for everything
        mask = everything if plain else self.training_masks(image)
        filled = self.model.inpaint.fill(image, 0 * everything if plain else mask)
        with torch.no_grad():
            features = self.model.features(image)
        return self.loss(image, mask, filled, self.model.codebook(filled.guess, features))

    def prepare(self, images: list[Tensor]) -> None:
        """Find the clusters of normal images, batches (B, 3, H, W), and how often each occurs."""
        with torch.no_grad():
            self.model.codebook.fill([self.model.features(batch) for batch in images])
        self.model.inpaint.expect(self.model.codebook.frequency)

    def pictures(self, output: Turns) -> dict[str, Tensor]:
        """Return the last image, and every turn's mask, image and map."""
        return {"reconstruction": output.reconstruction, "turns": drawn(self.model, output)}

    def observe(self, batch: Any, output: Turns) -> None:
        """Take note of the signal-to-noise ratio of every turn, by the residual that makes masks."""
        if self.snr is not None and batch.gt_mask is not None and self.trainer.testing:
            size = batch.image.shape[-2:]
            residuals = [self.model.suspicion.combine(turn.residuals, size) for turn in output.turns]
            self.snr.update(residuals, defects(batch.gt_mask, size))

    def on_test_epoch_end(self) -> None:
        """Log mean residual inside over outside the ground truth, a turn; nothing without a defect."""
        if self.snr is not None and self.snr.update_called:
            ratios = enumerate(self.snr.compute().reshape(-1))
            self.log_dict({f"snr_turn_{turn}": ratio for turn, ratio in ratios if not ratio.isnan()})
            self.snr.reset()
