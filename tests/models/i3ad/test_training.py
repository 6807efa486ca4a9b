"""I3AD trained for real: on a texture with a defect, with a picture of its turns."""

from pathlib import Path
from typing import ClassVar

from anomalib.engine import Engine
from PIL import Image

from anomalib_stc.data import TextureDemo
from anomalib_stc.host.batch import ReconstructionBatch
from anomalib_stc.models import I3ad
from tests.models.contract import QUIET
from tests.models.i3ad.test_model import OWN, SMALL
from tests.models.training_contract import TrainingContract


class TestTraining(TrainingContract):
    model = I3ad
    small = SMALL
    able: ClassVar = {"image_size": 96, "cell": 8, "codebook_items": 100}
    own = OWN


def test_the_turns_are_drawn(few_root: Path, tmp_path: Path) -> None:
    model = I3ad(**SMALL, iterations=2)
    data = TextureDemo(root=few_root, crop_size=70)
    engine = Engine(default_root_dir=tmp_path, max_epochs=1, **QUIET)
    engine.fit(model, datamodule=data)
    engine.test(model, datamodule=data)
    batch = engine.predict(model, datamodule=data)[0]
    assert isinstance(batch, ReconstructionBatch)
    assert batch.turns is None, "what is drawn is not kept"
    with Image.open(next(Path(tmp_path).rglob("images/**/*.png"))) as picture:
        width, height = picture.size
    assert height == (model.model.iterations + 2) * model.visualizer.field_size[1]
    assert width >= 4 * model.visualizer.field_size[0]
