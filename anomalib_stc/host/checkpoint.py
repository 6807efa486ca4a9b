"""A checkpoint is whole, and answers as it was trained, whatever stands beside it."""

from typing import TYPE_CHECKING, Any

from anomalib_stc.host.calibration import HoldoutCalibration
from anomalib_stc.host.replaced import OWN, check_own, described, parts_of_checkpoint
from anomalib_stc.host.settings import same, settled
from anomalib_stc.parts.scored_model import ScoredModel

if TYPE_CHECKING:
    from anomalib.models import AnomalibModule as _Host
else:
    _Host = object


class WholeCheckpoint(_Host):
    """What a model does when a checkpoint of it is saved or loaded."""

    model: ScoredModel
    calibration: HoldoutCalibration

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint be whole: with scales and thresholds of its weights, and what it needs of files."""
        self.calibration.complete(self, checkpoint)
        super().on_save_checkpoint(checkpoint)
        checkpoint["hyper_parameters"] |= self.portable()
        checkpoint[OWN] = described(self, checkpoint["hyper_parameters"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Be what the checkpoint was trained as: its arguments, unless others were given, and its parts.

        Raises:
            ValueError: If an argument or a part was given that does not fit the checkpoint, or it is of another model.
        """
        check_own(self, checkpoint)
        resumed = self._trainer is not None and self._trainer.state.fn == "fit"
        self.adopt(settled(type(self), self.portable_arguments, checkpoint[OWN]["arguments"], resumed))
        if resumed:
            self.calibration.split_again(self.trainer)
        self.calibration.bank_mark = checkpoint[OWN]["held_out"]
        if self.calibration.normals.held_out is None:  # else this run's own
            self.calibration.normals.mark = checkpoint[OWN]["held_out"]
        with parts_of_checkpoint(self, checkpoint):
            super().on_load_checkpoint(checkpoint)

    @property
    def portable_arguments(self) -> dict[str, Any]:
        """Arguments of this model that do not depend on this machine's files."""
        return {**self.hparams, **self.portable()}

    def portable(self) -> dict[str, Any]:
        """Return arguments that stand for files: of a backbone's folder the architecture."""
        return dict(self.model.features.portable())

    def adopt(self, arguments: dict[str, Any]) -> None:
        """Become a model of other arguments, unless they are this one's."""
        if all(same(value, self.portable_arguments.get(name)) for name, value in arguments.items()):
            return
        parts = dict.fromkeys(("pre_processor", "post_processor", "evaluator", "visualizer"), False)
        other = type(self)(**arguments, **parts).to(self.device)
        for name in ("model", "loss", "learning_rate", "train_images"):
            setattr(self, name, getattr(other, name))
        for name in ("fraction", "false_alarm_rate"):
            setattr(self.calibration, name, getattr(other.calibration, name))
        self.hparams.update(arguments)
