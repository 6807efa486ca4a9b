"""Texture features lie on one grid, with levels of equal length; patches are the pixels themselves."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from anomalib_stc.parts.backbone import OFFLINE_BACKBONE, architecture
from anomalib_stc.parts.features import BackboneFeatures, ColouredFeatures, PatchFeatures, texture_features
from tests.parts.test_backbone import local_folder


@pytest.fixture(scope="module")
def backbone() -> BackboneFeatures:
    features = BackboneFeatures(OFFLINE_BACKBONE)
    features.load()
    return features


def images(height: int = 64, width: int = 96, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(64, 96), (80, 64), (128, 128)])
@pytest.mark.parametrize("name", [OFFLINE_BACKBONE, "resnet18", "none"])
def test_grid_is_an_eighth_of_the_image(name: str, size: tuple[int, int]) -> None:
    features = texture_features(name)
    assert features(images(*size)).shape == (2, features.channels, size[0] // 8, size[1] // 8)


def test_every_level_has_unit_length(backbone: BackboneFeatures) -> None:
    levels = backbone(images()).split(backbone.network.feature_info.channels(), dim=1)
    assert [level.shape[1] for level in levels] == [24, 40, 112]
    for level in levels:
        torch.testing.assert_close(level.norm(dim=1), torch.ones(2, 8, 12), atol=1e-5, rtol=0)


def test_a_bank_is_told_which_levels_are_where(backbone: BackboneFeatures) -> None:
    """Finer than the grid, not coarser than it, all; colours are none of them."""
    for features in (backbone, ColouredFeatures(backbone, 1.0)):
        assert (features.finest, features.shallow, features.deep) == (24, 24 + 40, 24 + 40 + 112)


def test_levels_are_the_networks_own_at_their_place(backbone: BackboneFeatures) -> None:
    image = images()
    fine, same, coarse = backbone.network((image - backbone.mean) / backbone.std)
    got = backbone(image).split([fine.shape[1], same.shape[1], coarse.shape[1]], dim=1)
    torch.testing.assert_close(got[0], F.normalize(F.avg_pool2d(fine, 2), dim=1))
    torch.testing.assert_close(got[1], F.normalize(same, dim=1))
    larger = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(got[2], F.normalize(larger, dim=1))


def test_images_are_normalised_as_the_network_was_trained(backbone: BackboneFeatures) -> None:
    config = backbone.network.default_cfg
    torch.testing.assert_close(backbone.mean.flatten(), torch.tensor(config["mean"]))
    torch.testing.assert_close(backbone.std.flatten(), torch.tensor(config["std"]))


def test_a_folders_features_are_built_and_filled_where_it_is_gone(tmp_path: Path) -> None:
    local_folder(tmp_path / "kept", "mobilenetv3_small_050", mean=[0.1, 0.2, 0.3])
    name = f"local-dir:{tmp_path / 'kept'}"
    features = texture_features(name, colour=1.0)
    features.load()
    shutil.rmtree(tmp_path / "kept")
    assert features.portable() == {"backbone": "mobilenetv3_small_050"}
    again = texture_features(**features.portable(), colour=1.0)
    again.load_state_dict(features.state_dict())
    assert torch.equal(again(images()), features(images())), "its normalisation travels too"
    assert again.portable() == {}


def test_a_folder_that_no_name_stands_for_stays_a_folder(tmp_path: Path) -> None:
    local_folder(tmp_path, "resnet18")
    config = json.loads((tmp_path / "config.json").read_text())
    name = f"local-dir:{tmp_path}"
    for arguments, expected in (({"num_classes": 5}, "resnet18"), ({"output_stride": 16}, name)):
        (tmp_path / "config.json").write_text(json.dumps({**config, "model_args": arguments}))
        assert architecture(name) == expected


@pytest.mark.parametrize("name", [OFFLINE_BACKBONE, "none"])
def test_what_takes_no_folder_needs_nothing_else(name: str) -> None:
    assert texture_features(name).portable() == {}


def test_the_backbone_is_frozen_but_passes_gradient_on(backbone: BackboneFeatures) -> None:
    assert not backbone.train().training
    assert not any(module.training for module in backbone.modules())
    assert not any(weight.requires_grad for weight in backbone.parameters())
    image = images().requires_grad_()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(image).sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_patches_are_the_pixels_of_their_cell() -> None:
    image = images()
    features = PatchFeatures()(image)
    for row, column in ((0, 0), (3, 7), (7, 11)):
        cell = image[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert torch.equal(features[:, :, row, column], cell.flatten(1) - 0.5)
    torch.testing.assert_close(F.pixel_shuffle(features, 8) + 0.5, image, atol=1e-6, rtol=0)


def test_patches_need_no_weights() -> None:
    features = texture_features("none")
    features.load()
    assert features.state_dict() == {}
    assert not features(torch.full((1, 3, 16, 16), 0.5)).any()


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_wrong_weight_of_colours_is_one_sentence(weight: float) -> None:
    with pytest.raises(
        ValueError, match=r"^Weight of colours came as .*, expected a finite number above 0, as 1\.0\.$"
    ):
        texture_features("none", colour=weight)


def test_colours_are_weighted_means_of_cells_after_the_other_features() -> None:
    coloured = texture_features("none", colour=2.0)
    assert isinstance(coloured, ColouredFeatures)
    found = coloured(images())
    torch.testing.assert_close(found[:, :-3], PatchFeatures()(images()))
    torch.testing.assert_close(found[:, -3:, 0, 0], 2 * (images()[..., :8, :8].mean((2, 3)) - 0.5))
    assert found.shape[1] == coloured.channels
