"""ProxyAno (Zhou et al., IEEE TMI 41(3), 2022), after its abstract: image to proxy through a memory, proxy to image."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from anomalib_stc.models.proxy_ano.proxy import blurred, cell_side
from anomalib_stc.models.proxy_ano.reconstruction import ImageReconstruction
from anomalib_stc.parts.blocks import quiet
from anomalib_stc.parts.branch import Branch, memories_of, structure_encoder
from anomalib_stc.parts.checks import check_known
from anomalib_stc.parts.correspondence import angle
from anomalib_stc.parts.features import TextureFeatures
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore, resize
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import check_size

ENCODERS: Final = ("backbone", "convolution")


class Bridge(NamedTuple):
    """What the model infers of an image."""

    proxy: Tensor  # (B, 3, H, W): predicted proxy
    reconstruction: Tensor  # (B, 3, H, W)
    texture: Tensor  # (B, D, H/8, W/8): read-out of the memory
    features: Tensor  # (B, D, H/8, W/8): texture features of the image itself


class ProxyAnoModel(ScoredModel):
    """Proxy Extraction Module with a memory, then Image Reconstruction Module.

    Args:
        features: Texture features: the memory's values.
        score: From residuals to map and score. Its terms are ``pixel``, ``correspondence`` and ``proxy``.
        encoder: What the memory is asked with: ``backbone`` (the texture features themselves) or ``convolution``
            (learned, on the image).
        memory_items: Items of the memory; 0 for no memory (ablation).
        key_channels: Channels of the queries of convolutions.
        widths: Channels of the proxy's decoder at strides 8 and 4.
        reconstruction_widths: Channels of the reconstruction module at strides 4, 8 and 16.
        temperature: Start of the memory's learned temperature.
        shrink: See `Memory`.
        top_k: See `Memory`.
        cells: Superpixels an image: the scale at which predicted proxy and image are compared.

    Raises:
        ValueError: If the encoder is unknown.
    """

    def __init__(
        self,
        features: TextureFeatures,
        score: AnomalyScore,
        *,
        encoder: str,
        memory_items: int,
        key_channels: int,
        widths: Sequence[int],
        reconstruction_widths: Sequence[int],
        temperature: float,
        shrink: float,
        top_k: int | None,
        cells: int,
    ) -> None:
        super().__init__()
        check_known("Encoder", encoder, ENCODERS)
        self.features = features
        self.score = score
        self.encoder = encoder
        self.cells = cells
        frozen = encoder == "backbone"
        keys = features.channels if frozen else key_channels
        self.extraction = Branch(
            nn.Identity() if frozen else structure_encoder(3, 1, key_channels),
            features.channels,
            keys,
            widths,
            Memory(memory_items, keys, features.channels, temperature, shrink, top_k) if memory_items else None,
        )
        quiet(self.extraction.decoder[-1])
        self.reconstruct = ImageReconstruction(reconstruction_widths)

    @property
    def branches(self) -> dict[str, Branch]:
        """The one branch with a memory, by name."""
        return {"proxy": self.extraction}

    @property
    def memories(self) -> dict[str, Memory]:
        """Memories of the branches, by name."""
        return memories_of(self.branches)

    def infer(self, image: Tensor) -> Bridge:
        """Infer proxy and reconstruction of images (B, 3, H, W)."""
        proxy, texture, features = self.extract(image)
        return Bridge(proxy, self.reconstruct(proxy), texture, features)

    def extract(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return proxy, read-out and features of images (B, 3, H, W)."""
        check_size(image)
        with torch.no_grad():
            features = self.features(image)
        found = self.extraction(self.asked(image, features))
        return found.image + self.coarse(found.texture, image), found.texture, features

    def coarse(self, texture: Tensor, image: Tensor) -> Tensor:
        """Return the colours of a read-out at the image's size, to which the decoder adds the rest of the proxy."""
        return resize(self.features.colour(texture), image.shape[-2:])

    def asked(self, image: Tensor, features: Tensor) -> Tensor:
        """Return what the memory is asked with."""
        return features if self.encoder == "backbone" else image

    def residuals(self, image: Tensor, output: Bridge) -> dict[str, Tensor]:
        """Return every term of the score as a map (B, 1, h, w), not calibrated."""
        residuals = {
            "pixel": (image - output.reconstruction.clamp(0, 1)).abs().mean(1, keepdim=True),
            "correspondence": angle(output.texture, output.features),
        }
        if "proxy" in self.score.weights:
            blur = blurred(image, cell_side(image, self.cells))
            residuals["proxy"] = (blur - output.proxy.clamp(0, 1)).abs().mean(1, keepdim=True)
        return residuals
