"""How our models are exported: the opset, and what is refused.

What a pickle (``torch.save``, ``--export_type torch``) leaves out is said where it lies: file lists in
`HoldoutCalibration`, superpixels in `SegmentCache`; `PatchDiscriminator` pickles its weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import onnx

from anomalib_stc.host.trained import check_trained

if TYPE_CHECKING:
    from anomalib.models import AnomalibModule as _Host
else:
    _Host = object

INPUT_RANGE: Final = "input_range"
OPSET: Final = 18  # the one torch writes; anomalib asks for 14, and the attempt to go back prints a traceback
EXACT: Final = {"INFERENCE_PRECISION_HINT": "f32"}  # unasked, newer CPUs compute in bfloat16: two or three digits


class ExactExport(_Host):
    """anomalib's exports of a model whose scores do not change by them; OpenVINO goes by ONNX."""

    model: Any

    def to_torch(self, export_root: Path | str, *args: Any, **kwargs: Any) -> Path:
        """Pickle the model; see anomalib's ``to_torch``.

        Raises:
            ValueError: If the model is not trained.
        """
        check_trained(self)
        return super().to_torch(export_root, *args, **kwargs)

    def to_onnx(self, export_root: Path | str, *args: Any, **kwargs: Any) -> Path:  # type: ignore[override]
        """Write ONNX of opset 18, unless another is asked for; see anomalib's ``to_onnx``.

        Its metadata, which OpenVINO keeps, says which values the graph takes; others it clamps.

        Raises:
            ValueError: If the model is not trained.
        """
        check_trained(self)
        path = super().to_onnx(export_root, *args, **{"opset_version": OPSET, **kwargs})
        written = onnx.load(path, load_external_data=False)
        onnx.helper.set_model_props(written, {INPUT_RANGE: "0..1"})
        onnx.save(written, path)
        return path
