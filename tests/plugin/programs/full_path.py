"""Print what a program sees in which the start-up hook did not run: full class paths work, names appear later."""

import json
import sys
from pathlib import Path

from anomalib.models import AnomalibModule, list_models

Path("by_path.yaml").write_text("model:\n  class_path: anomalib_stc.models.Stcm\n")
facts = {"listed_before": sorted(list_models()), "hook": "_anomalib_models_autoload" in sys.modules}
facts["model"] = type(AnomalibModule.from_config("by_path.yaml")).__name__
print(json.dumps(facts | {"listed_after": sorted(list_models())}))
