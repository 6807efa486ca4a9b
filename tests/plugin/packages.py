"""Source of the third-party packages the environments hold."""

MODEL = '''
from lightning.pytorch.utilities.types import STEP_OUTPUT

from anomalib import LearningType
from anomalib.engine import Engine  # a model may need what itself imports anomalib.models
from anomalib.models import AnomalibModule


class {name}(AnomalibModule):
    """A model that does nothing.

    Args:
        width (int): A number to set.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__(pre_processor=False, post_processor=False, evaluator=False, visualizer=False)
        self.width = width

    @property
    def trainer_arguments(self) -> dict:
        return {{}}

    @property
    def learning_type(self) -> LearningType:
        return LearningType.ONE_CLASS
'''

GOOD = {
    "entries": {"edge_bank": "shop.nets:EdgeBank", "q3ad": "shop.q3ad:Q3AD"},
    "nets": MODEL.format(name="EdgeBank"),
    "q3ad": MODEL.format(name="Q3AD"),
}
BROKEN = {
    "entries": {
        "broken_net": "broken.nets:BrokenNet",
        "quitter": "broken.quits:Quitter",
        "no_model": "broken:__name__",
    },
    "nets": "import a_library_that_is_not_there",
    "quits": "raise SystemExit(3)",
}
TWIN = {  # comes after shop in the order of names
    "entries": {"padim": "twin.nets:OtherPadim", "image": "twin.nets:Image", "EdgeBank": "twin.bank:EdgeBank"},
    "nets": "raise AssertionError('a model whose name is taken must not even be imported')",
    "bank": MODEL.format(name="EdgeBank"),
}
