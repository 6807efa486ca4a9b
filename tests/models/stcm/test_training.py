"""STCM trained for real: on a texture with a defect, with a user's network."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from anomalib.data import MVTecAD
from anomalib.engine import Engine

from anomalib_stc.models import Stcm
from tests.models.contract import QUIET, images
from tests.models.stcm.test_model import OWN, SMALL
from tests.models.training_contract import TrainingContract


class TestTraining(TrainingContract):
    model = Stcm
    small = SMALL
    able: ClassVar = {"image_size": 96, "memory_items": 100}
    own = OWN
    epochs = 6


def test_a_users_vessel_network_is_the_semantic_structure(data_root: Any, tmp_path: Path) -> None:
    root = data_root("idrid-small")
    weights = root.parent / "weights" / "wnet-drive" / "model.safetensors"
    if not weights.is_file():
        pytest.skip(f"needs the vessel network {weights}, which is not there")
    network = {"semantic": "tests.models.stcm.wnet.WNet", "semantic_args": {"weights": str(weights)}}
    model = Stcm(**{**SMALL, "image_size": 128, **network})
    data = MVTecAD(root=root, category="idrid-small", train_batch_size=4, eval_batch_size=4, num_workers=0)
    Engine(default_root_dir=tmp_path, max_epochs=1, limit_train_batches=2, limit_val_batches=1, **QUIET).fit(
        model, datamodule=data
    )
    image = images((128, 128), 1)
    with torch.no_grad():
        vessels = model.eval().model.infer(image).structures["semantic"]
    assert vessels.shape == (1, 1, 128, 128)
    assert 0 <= vessels.min() <= vessels.max() <= 1
