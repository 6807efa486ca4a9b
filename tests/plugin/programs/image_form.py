"""Print what a program gets that imports models from where anomalib's own image models are, before all else."""

import json

from anomalib.models.image import EdgeBank, Padim, Stcm

stcm, edge_bank = (f"{model.__module__.split('.lightning')[0]}.{model.__name__}" for model in (Stcm, EdgeBank))
print(json.dumps({"stcm": stcm.replace(".stcm.", "."), "edge_bank": edge_bank, "padim": Padim.__name__}))
