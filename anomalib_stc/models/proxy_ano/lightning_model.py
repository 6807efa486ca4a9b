"""ProxyAno as a model of anomalib: its arguments, and what a training step does."""

from typing import Any

from anomalib.metrics import Evaluator
from anomalib.models import AnomalibModule
from anomalib.visualization import Visualizer
from torch import Tensor, nn

from anomalib_stc.host.module import ReconstructionModule
from anomalib_stc.models.proxy_ano.loss import ProxyAnoLoss
from anomalib_stc.models.proxy_ano.proxy import make_proxy
from anomalib_stc.models.proxy_ano.pseudo_anomaly import PatchPaste
from anomalib_stc.models.proxy_ano.torch_model import Bridge, ProxyAnoModel
from anomalib_stc.parts.discriminator import PatchDiscriminator
from anomalib_stc.parts.features import texture_features
from anomalib_stc.parts.preparation import fill_memories
from anomalib_stc.parts.score import AnomalyScore


class ProxyAno(ReconstructionModule, AnomalibModule):  # type: ignore[misc] # anomalib's own to_onnx differs from Lightning's
    """The image rebuilt from its superpixel-image, which is found through a memory of normal correspondences.

    After Zhou et al., *Proxy-bridged Image Reconstruction Network for Anomaly Detection in Medical Images*, IEEE TMI
    41(3), 2022, arXiv 2110.01761 (its abstract); not a replication.

    Args:
        image_size: Height and width the images are resized to, multiples of 16 from 64; one number for a square.
        backbone: timm name or ``local-dir:FOLDER`` of the frozen texture features, or ``none`` to use the pixels.
        colour: Weight of the mean colour of every cell beside those features; 0 for none.
        encoder: What the memory is asked with: ``backbone`` (those features) or ``convolution`` (learned, on the
            image).
        proxy: ``superpixel``, or, for ablation, ``edge``, ``blur``, ``down_sampled``, ``quantised``, ``identity``.
        superpixels: Number of superpixels an image, and the scale of the other proxies.
        compactness: Weight of nearness against likeness of colour of superpixels.
        proxy_folder: Where superpixels are kept from one run to the next; ``None`` keeps them in memory.
        memory_items: Items of the memory; 0 for none (ablation).
        memory_temperature: Start of the memory's learned temperature.
        memory_shrink: Addresses below this many equal shares are cut.
        memory_top_k: Keep this many addresses only; ``None`` keeps all.
        key_channels: Channels of the queries of convolutions.
        widths: Channels of the proxy's decoder at strides 8 and 4.
        reconstruction_widths: Channels of the reconstruction module at strides 4, 8 and 16.
        pseudo_probability: Share of the training images with a pseudo anomaly; 0 for none (ablation).
        pseudo_size: Least and largest side of the patch, as a share of the image's.
        pseudo_shape: ``rectangle``, ``ellipse`` or ``both``.
        pseudo_position: ``random`` takes the patch from another place, ``same`` from where it goes.
        pseudo_source: ``image`` takes it from the image itself, ``batch`` from another one.
        staged: Train extraction in the first half and reconstruction in the second, instead of both at once.
        proxy_loss: Weight of the L1 loss of the predicted proxy.
        value_loss: Weight of the distance of the memory's read-out to the texture features.
        pixel_loss: Weight of the L1 loss of the reconstruction.
        adversarial_loss: Weight of the adversarial loss; 0 for no discriminator.
        pixel_score: Weight of the pixel residual in the map.
        correspondence_score: Weight of the distance of the read-out to the image's features in the map.
        proxy_score: Weight of the difference of the predicted proxy and the image, blurred at that scale.
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

    model: ProxyAnoModel
    loss: ProxyAnoLoss

    def __init__(
        self,
        image_size: int | tuple[int, int] = 256,
        backbone: str = "tf_efficientnet_lite0",
        colour: float = 1.0,
        encoder: str = "backbone",
        proxy: str = "superpixel",
        superpixels: int = 300,
        compactness: float = 10.0,
        proxy_folder: str | None = None,
        memory_items: int = 200,
        memory_temperature: float = 30.0,
        memory_shrink: float = 1.0,
        memory_top_k: int | None = None,
        key_channels: int = 48,
        widths: tuple[int, int] = (32, 16),
        reconstruction_widths: tuple[int, int, int] = (32, 48, 64),
        pseudo_probability: float = 0.5,
        pseudo_size: tuple[float, float] = (0.05, 0.25),
        pseudo_shape: str = "both",
        pseudo_position: str = "random",
        pseudo_source: str = "image",
        staged: bool = False,
        proxy_loss: float = 1.0,
        value_loss: float = 1.0,
        pixel_loss: float = 1.0,
        adversarial_loss: float = 0.1,
        pixel_score: float = 0.5,
        correspondence_score: float = 4.0,
        proxy_score: float = 0.0,
        smoothing: float = 4.0,
        image_score: str = "top",
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
        self.proxy = make_proxy(proxy, superpixels, compactness, proxy_folder)
        self.paste = PatchPaste(pseudo_probability, pseudo_size, pseudo_shape, pseudo_position, pseudo_source)
        self.staged = staged
        score = {"pixel": pixel_score, "correspondence": correspondence_score, "proxy": proxy_score}
        self.model = ProxyAnoModel(
            texture_features(backbone, colour),
            AnomalyScore(score, smoothing, image_score),
            encoder=encoder,
            memory_items=memory_items,
            key_channels=key_channels,
            widths=widths,
            reconstruction_widths=reconstruction_widths,
            temperature=memory_temperature,
            shrink=memory_shrink,
            top_k=memory_top_k,
            cells=superpixels,
        )
        self.loss = ProxyAnoLoss(
            {"proxy": proxy_loss, "value": value_loss, "pixel": pixel_loss, "adversarial": adversarial_loss},
            PatchDiscriminator() if adversarial_loss else None,
        )
        self.calibrate_on_held_out(holdout, normal_quantile)

    def losses(self, image: Tensor) -> dict[str, Tensor]:
        """Return the weighted losses of images (B, 3, H, W), pseudo anomalies on some proxies, by name."""
        proxy, texture, features = self.model.extract(image)
        bridge = self.paste(proxy.detach() if self.staged else proxy, image).proxy
        terms = self.loss(image, self.proxy(image), Bridge(proxy, self.model.reconstruct(bridge), texture, features))
        if not self.staged:
            return terms
        first = self.extracting()
        return {name: term * float((name in ("proxy", "value")) == first) for name, term in terms.items()}

    def extracting(self) -> bool:
        """Return whether a staged training is in its first half, which trains extraction."""
        return self.trainer.global_step < self.trainer.estimated_stepping_batches / 2

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Let Adam pass by the module whose stage it is not: gradients of zero would still move it."""
        del optimizer
        if not self.staged:
            return
        idle = [self.model.reconstruct, self.loss] if self.extracting() else [self.model.extraction]
        for module in idle:
            module.zero_grad(set_to_none=True)

    def pictures(self, output: Bridge) -> dict[str, Tensor]:
        """Return the predicted proxy and the reconstruction."""
        return {"proxy": output.proxy, "reconstruction": output.reconstruction}

    def prepare(self, images: list[Tensor]) -> None:
        """Fill the memory from normal images, batches (B, 3, H, W)."""
        model: Any = self.model.train()
        features = [model.features(batch) for batch in images]
        asked = [{"proxy": model.asked(batch, known)} for batch, known in zip(images, features, strict=True)]
        fill_memories(model.branches, asked, features)
