"""configs/stcm.yaml holds every number of the code, with a reason each."""

import inspect
from pathlib import Path

from omegaconf import OmegaConf

from anomalib_stc.components.evaluator import AuproEvaluator
from anomalib_stc.models import Stcm

CONFIG = Path(__file__).parents[2] / "configs" / "stcm.yaml"
COMPONENTS = {"self", "pre_processor", "post_processor", "evaluator", "visualizer"}


def test_config_equals_the_code() -> None:
    written = OmegaConf.to_container(OmegaConf.load(CONFIG).model.init_args)
    assert written.pop("evaluator") == {"class_path": f"{AuproEvaluator.__module__}.AuproEvaluator"}
    parameters = inspect.signature(Stcm.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in COMPONENTS}
    defaults["widths"] = list(defaults["widths"])
    assert written == defaults


def test_every_number_has_its_reason() -> None:
    model = CONFIG.read_text().split("init_args:")[-1]
    numbers = [line for line in model.splitlines() if any(letter.isdigit() for letter in line.split("#")[0])]
    assert [line for line in numbers if "#" not in line] == []
