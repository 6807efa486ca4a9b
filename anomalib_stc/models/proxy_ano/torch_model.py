"""ProxyAno (Zhou et al., IEEE TMI 41(3), 2022), after its abstract: image to proxy through a memory, proxy to image."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_stc.models.proxy_ano.proxy import Proxy, blurred
from anomalib_stc.models.proxy_ano.pseudo_anomaly import PatchPaste
from anomalib_stc.models.proxy_ano.reconstruction import ImageReconstruction
from anomalib_stc.parts.bank import MemoryBank
from anomalib_stc.parts.branch import Branch, initialise_memories, memories_of
from anomalib_stc.parts.correspondence import angle
from anomalib_stc.parts.features import Seen, TextureFeatures
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import checked, in_cells, resize_maps
from anomalib_stc.parts.window import Window, random_window


class Bridge(NamedTuple):
    """What the model infers of an image."""

    seen: Seen
    proxy: Tensor  # (B, 3, H, W): predicted proxy
    reconstruction: Tensor  # (B, 3, H, W)
    texture: Tensor  # (B, D, H/8, W/8): read-out of the memory


class Learnt(NamedTuple):
    """What the loss needs of an image."""

    inferred: Bridge  # rebuilt from a proxy with a pseudo anomaly on some images
    proxy: Tensor  # (B, 3, H, W): the true proxy
    window: Window

    @property
    def reconstruction(self) -> Tensor:
        """The reconstruction (B, 3, H, W)."""
        return self.inferred.reconstruction


class ProxyAnoModel(ScoredModel):
    """Proxy Extraction Module with a memory, then Image Reconstruction Module.

    Args:
        features: Texture features: what the memory is asked with, and its values.
        extraction: From the features through the memory to what the decoder adds to the read-out's colours.
        reconstruct: From the proxy to the image.
        score: From residuals to map and score. Its terms are the bank's, ``pixel``,
            ``correspondence`` and ``proxy``.
        proxy: Gives the true proxies of training images; its cells set the scale of the ``proxy`` term.
        paste: Pastes pseudo anomalies on proxies.
    """

    def __init__(
        self,
        features: TextureFeatures,
        extraction: Branch,
        reconstruct: ImageReconstruction,
        score: AnomalyScore,
        proxy: Proxy,
        paste: PatchPaste,
    ) -> None:
        super().__init__()
        self.features = features
        self.bank = MemoryBank(features)
        self.score = score
        self.extraction = extraction
        self.reconstruct = reconstruct
        self.proxy = proxy
        self.paste = paste

    @property
    def memories(self) -> dict[str, Memory]:
        """The memory, by name."""
        return memories_of({"proxy": self.extraction})

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise a `ValueError` if smoothing or superpixels are too wide for this height and width."""
        super().check_size(size)
        self.proxy.check_size(size)

    def start(self, images: list[Tensor], features: list[Tensor], seed: int) -> None:
        """Fill the memory from normal images."""
        del images
        initialise_memories({"proxy": self.extraction}, [{"proxy": known} for known in features], features, seed)

    def learn(self, image: Tensor) -> Learnt:
        """Infer from proxies of images (B, 3, H, W), some with a pseudo anomaly on them."""
        image = checked(image, self.dtype)
        proxy, texture, seen = self.find_proxy(image)
        pasted = self.paste(proxy, image).proxy
        inferred = Bridge(seen, proxy, self.reconstruct(pasted), texture)
        return Learnt(inferred, self.proxy(image), random_window(image))

    def infer(self, image: Tensor) -> Bridge:
        """Infer proxy and reconstruction of images (B, 3, H, W)."""
        image = checked(image, self.dtype)
        proxy, texture, seen = self.find_proxy(image)
        return Bridge(seen, proxy, self.reconstruct(proxy), texture)

    def find_proxy(self, image: Tensor) -> tuple[Tensor, Tensor, Seen]:
        """Return proxy and read-out of images (B, 3, H, W)."""
        with torch.no_grad():
            seen = self.features.see(image)
        found = self.extraction(seen.features)
        return found.image + self.colours(found.texture, image), found.texture, seen

    def colours(self, texture: Tensor, image: Tensor) -> Tensor:
        """Return the colours of a read-out at the image's size, to which the decoder adds the rest of the proxy."""
        return resize_maps(self.features.colour(texture), image.shape[-2:])

    def own_residuals(self, inferred: Bridge, names: Collection[str]) -> dict[str, Tensor]:
        """Return the named terms of what was trained as maps (B, 1, h, w), not calibrated."""
        terms = {
            "pixel": lambda: (inferred.seen.image - inferred.reconstruction.clamp(0, 1)).abs().mean(1, keepdim=True),
            "correspondence": lambda: angle(inferred.texture, inferred.seen.features),
            "proxy": lambda: self.proxy_residual(inferred.seen.image, inferred.proxy),
        }
        return {name: in_cells(terms[name](), inferred.seen.image.shape[-2:]) for name in names}

    def proxy_residual(self, image: Tensor, proxy: Tensor) -> Tensor:
        """Return the difference (B, 1, H, W) of a predicted proxy and the image blurred at its scale."""
        blur = blurred(image, self.proxy.side(image.shape[-2:]))
        return (blur - proxy.clamp(0, 1)).abs().mean(1, keepdim=True)
