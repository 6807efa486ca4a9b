"""Print which modules a bare start of Python has loaded; ``sys`` first, so that nothing is added here."""

import sys

loaded = sorted(sys.modules)
hooks = [type(finder).__name__ for finder in sys.meta_path]

import json  # noqa: E402

print(json.dumps({"loaded": loaded, "hooks": hooks}))
