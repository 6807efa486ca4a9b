"""Semantic structures: a user's segmentation network, or parts found without labels."""

import importlib
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_stc.models.stcm.structure import StructureExtractor
from anomalib_stc.parts.checks import check, check_positive, check_whole
from anomalib_stc.parts.clusters import cosine_kmeans
from anomalib_stc.parts.features import GRID_STRIDE
from anomalib_stc.parts.memory import affinity
from anomalib_stc.parts.rounding import unit
from anomalib_stc.parts.sizes import SLACK


class PartSegmentation(StructureExtractor):
    """Soft assignment of every grid position to parts: k-means of texture features, a substitute for labels.

    Args:
        feature_channels: Channels of the texture features.
        parts: Number of parts.
        temperature: Factor of the cosine similarity before the softmax over the parts: one part dominates, its
            neighbours stay visible.

    Raises:
        ValueError: If there is no part, or the temperature is not positive.
    """

    stride = GRID_STRIDE

    def __init__(self, feature_channels: int, parts: int, temperature: float = 30.0) -> None:
        super().__init__()
        check_whole("Parts", parts)
        check_positive("Temperature of parts", temperature, 30.0)
        self.channels = parts
        self.temperature = temperature
        self.centres: Tensor
        self.register_buffer("centres", unit(torch.ones(parts, feature_channels)))

    @torch.no_grad()
    def fit(self, points: Tensor, seed: int) -> None:
        """Find the parts of normal images from their features (P, feature_channels), clustered by a seed.

        Where there are fewer different points than parts, some parts are equal, and as likely as each other.
        """
        _, centres = cosine_kmeans(points, self.channels, seed)
        self.centres.copy_(unit(centres))

    def forward(self, image: Tensor, features: Tensor | None) -> Tensor:
        """Return the probability of every part (B, parts, H/8, W/8)."""
        del image
        if features is None:
            msg = "PartSegmentation got no features: pass the texture features of the images."
            raise ValueError(msg)
        weight = affinity(features, self.centres, self.temperature)
        return weight / weight.sum(1, keepdim=True)


class UserSegmentation(StructureExtractor):
    """A user's segmentation network, frozen.

    Args:
        source: Path of a `torch.export` program (``.pt2``), its bytes (n,) uint8, or the dotted path of an `nn.Module`
            class.
        arguments: Arguments of that class.

    Raises:
        ValueError: If the program or class cannot be loaded, does not map images to maps of their size, or if there are
            arguments and no class for them.
    """

    stride = 1

    def __init__(self, source: str | Tensor, arguments: dict[str, Any] | None = None) -> None:
        super().__init__()
        name = source if isinstance(source, str) else f"a program of {source.numel()} bytes"
        self.program = read_program(source)
        check("Arguments", arguments, not (arguments and self.program is not None), "none where a program is given")
        self.network = load_segmentation(name, arguments or {}, self.program)
        for parameter in self.network.parameters():
            parameter.requires_grad = False
        self.channels = self._probe(name)

    def portable(self) -> dict[str, Tensor]:
        """Return the bytes (n,) uint8 of a program; a class has none and needs its package."""
        return {} if self.program is None else {"semantic": self.program}

    @torch.no_grad()
    def _probe(self, source: str) -> int:
        """Return the number of output channels for two small images, black and a ramp, or say what is wrong.

        Neither one image nor a square: a program exported for its example's size only is to fail here, not later.
        """
        batch, height, width = 2, 64, 96
        ramp = torch.linspace(0, 1, width).expand(3, height, width)
        images = torch.stack([torch.zeros_like(ramp), ramp])
        size = f"{height}, {width}"
        wanted = f"expected images ({batch}, 3, {size}) in [0, 1] to give probabilities ({batch}, C, {size})"
        try:
            found = self.network(images)
            shape = tuple(found.shape)
        except Exception as error:  # whatever the user's network raises
            msg = f"Segmentation '{source}' failed ({error}); {wanted}: export it with dynamic batch and image size."
            raise ValueError(msg) from error
        if len(shape) != 4 or shape[0] != batch or shape[2:] != (height, width):
            msg = f"Segmentation '{source}' gave {shape}; {wanted}: resize and squash its output to that."
            raise ValueError(msg)
        low, high = found.min().item(), found.max().item()
        if not (low >= -SLACK and high <= 1 + SLACK):
            msg = f"Segmentation '{source}' gave values from {low:.4g} to {high:.4g}; {wanted}: end it in a softmax."
            raise ValueError(msg)
        return shape[1]

    def train(self, mode: bool = True) -> "UserSegmentation":
        """Stay in evaluation mode; an exported program has no other."""
        del mode
        self.training = False
        return self

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the probability of every class (B, channels, H, W)."""
        del features
        return self.network(image)


def read_program(source: str | Tensor) -> Tensor | None:
    """Return the bytes (n,) uint8 of a ``.pt2`` program; ``None`` for a class path.

    Raises:
        ValueError: If there is no such file.
    """
    if isinstance(source, Tensor):
        return source.cpu()
    if not source.endswith(".pt2"):
        return None
    try:
        return torch.frombuffer(bytearray(Path(source).read_bytes()), dtype=torch.uint8)
    except (OSError, ValueError) as error:  # torch makes no tensor of an empty file
        raise ValueError(cannot_be_loaded(source, error)) from error


def load_segmentation(source: str, arguments: dict[str, Any], program: Tensor | None) -> nn.Module:
    """Load a network from the bytes of a program, or from a class path where there are none.

    Raises:
        ValueError: If there is no such class, or it does not load.
    """
    try:
        if program is not None:
            return torch.export.load(BytesIO(program.numpy().tobytes())).module()
        module, name = source.rsplit(".", 1)
        return getattr(importlib.import_module(module), name)(**arguments).eval()
    except Exception as error:  # a user's file or code: name it and its cause
        raise ValueError(cannot_be_loaded(source, error)) from error


def cannot_be_loaded(source: str, error: Exception) -> str:
    """Return the sentence that says why a structure cannot be loaded, and what to do."""
    return (
        f"Semantic structure '{source}' cannot be loaded ({error}): give 'parts', 'none', the path of a torch.export "
        "program (.pt2) or the dotted path of an nn.Module class, whose package a checkpoint needs too."
    )
