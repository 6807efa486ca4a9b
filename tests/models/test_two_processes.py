"""Every model trained by two processes at once: a start is slow, so that one pair trains all of them in turn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anomalib_stc.data import TextureDemo
from tests.models.i3ad.test_model import SMALL as I3AD
from tests.models.proxy_ano.test_model import SMALL as PROXY_ANO
from tests.models.stcm.test_model import SMALL as STCM

SMALL = {"i3ad": I3AD, "proxy_ano": PROXY_ANO, "stcm": STCM}
PROGRAM = """
import json
import sys
import torch
from anomalib.engine import Engine
from anomalib.models import get_model
from anomalib_stc.data import TextureDemo

torch.set_num_threads(1)
if __name__ == "__main__":
    models, root, out = sys.argv[1:]
    for name, arguments in json.loads(models).items():
        data = TextureDemo(root=root, crop_size=70, train_batch_size=4)
        model = get_model(name, **arguments)
        engine = Engine(default_root_dir=out, accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False,
                        enable_progress_bar=False)
        engine.fit(model, datamodule=data)
        found = {"state": model.state_dict(), "steps": engine.trainer.global_step}
        torch.save(found, f"{out}/{name}_{engine.trainer.global_rank}.pt")
"""


@pytest.fixture(scope="module")
def trained(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which each of two processes has left every model."""
    place = tmp_path_factory.mktemp("two_processes")
    TextureDemo(root=demo_root, crop_size=70).prepare_data()
    program = place / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, program, json.dumps(SMALL), demo_root, place]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return place


@pytest.mark.parametrize("name", SMALL)
def test_two_processes_train_the_same_weights(trained: Path, name: str) -> None:
    first, second = (torch.load(trained / f"{name}_{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["steps"] == second["steps"] == 7  # 54 images over two processes of batch 4
    for key, value in first["state"].items():
        torch.testing.assert_close(value, second["state"][key], rtol=1e-5, atol=1e-6, equal_nan=True, msg=key)
        unset = "threshold" in key or key.endswith("bank.scores")
        assert unset or value.isfinite().all(), f"{key}: nothing but a validation's may be unset"
    assert first["state"]["model.bank.scores"].isfinite().sum() == 60, "of every image, held out or not"
