"""EfficientNet-Lite0's ImageNet weights as a folder that timm, and so anomalib, loads as a backbone."""

import json
from pathlib import Path
from typing import Any, Final

import timm
from safetensors.torch import save_file
from torchvision.transforms.v2 import Normalize

from anomalib_stc.parts.backbone import OFFLINE_BACKBONE, offline_weights

LOCAL: Final = "local-dir:"  # how timm names a backbone in a folder


def lite0_colours() -> Normalize:
    """Return the step that brings images in 0..1 to the mean and deviation that this network was trained with."""
    trained: Any = timm.get_pretrained_cfg(OFFLINE_BACKBONE)
    return Normalize(trained.mean, trained.std)


def lite0_backbone(folder: Path) -> str:
    """Write the folder and return the backbone's name, ``local-dir:FOLDER``."""
    folder.mkdir(parents=True, exist_ok=True)
    network: Any = timm.create_model(OFFLINE_BACKBONE)
    plain = (str, int, float, list, tuple)
    pretrained = {key: value for key, value in network.pretrained_cfg.items() if isinstance(value, plain)}
    config = {"architecture": OFFLINE_BACKBONE, "num_classes": 1000, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({key: value.contiguous() for key, value in offline_weights().items()}, folder / "model.safetensors")
    return f"{LOCAL}{folder.resolve()}"
