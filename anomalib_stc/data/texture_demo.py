"""A small data set that needs no download: textures with planted defects, for a first run and for tests."""

from pathlib import Path

from anomalib.data import AnomalibDataModule
from anomalib.data.datasets.image.mvtecad import MVTecADDataset
from anomalib.data.utils import Split, TestSplitMode, ValSplitMode

from anomalib_stc.data.demo_set import Recipe, write_demo_set
from anomalib_stc.data.photographs import CATEGORIES, MAX_CROP, MIN_CROP, Category


class TextureDemo(AnomalibDataModule):
    """Crops of a photograph: 60 to train on, 20 for thresholds, 30 good and 30 defective to test on.

    The three parts come from bands of the photograph that share no pixel. By default validation is normal
    only (``val_split_mode="from_dir"``), so no threshold sees a defect; the other modes of anomalib work too.
    The constructor writes nothing: the set appears under ``root`` at the first fit, test or ``setup``, and
    later runs with the same arguments read it.

    Args:
        root: Folder that holds the sets, one sub-folder for each choice of arguments.
        category: The photograph; PaDiM (EfficientNet-Lite0) reaches an image AUROC of .97 on brick, .75 on gravel and
            .58 on grass, where leaves are normal.
        crop_size: Side of the square images in pixels, 64 to 140; on purpose not a size that models take.
        train_batch_size: Images in a training batch.
        eval_batch_size: Images in a validation or test batch.
        num_workers: Loader processes; reading these files is faster than starting one.
        val_split_mode: Where validation images come from.
        val_split_ratio: Share for the modes that split another part.
        seed: Decides crops, defects and splits.
    """

    def __init__(
        self,
        root: Path | str = "./datasets/TextureDemo",
        category: Category = "brick",
        crop_size: int = 130,
        train_batch_size: int = 8,
        eval_batch_size: int = 8,
        num_workers: int = 0,
        val_split_mode: ValSplitMode | str = ValSplitMode.FROM_DIR,
        val_split_ratio: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            test_split_mode=TestSplitMode.FROM_DIR,
            val_split_mode=val_split_mode,
            val_split_ratio=val_split_ratio,
            seed=seed,
        )
        self.root = Path(root)
        self.category = category
        self.recipe = Recipe(category, crop_size, seed)

    def prepare_data(self) -> None:
        """Write the set if it is not there.

        Arguments are checked here, because the command line buries what a constructor raises.

        Raises:
            ValueError: If ``category`` or ``crop_size`` is out of range.
            OSError: If ``root`` cannot be written.
        """
        _check(self.recipe)
        write_demo_set(self.root, self.recipe)

    def _setup(self, _stage: str | None = None) -> None:
        self.prepare_data()
        self.train_data = self._read(Split.TRAIN)
        self.test_data = self._read(Split.TEST)
        if self.val_split_mode == ValSplitMode.FROM_DIR:
            self.val_data = self._read(Split.VAL)

    def _read(self, split: Split) -> MVTecADDataset:
        return MVTecADDataset(root=self.root, category=self.recipe.folder, split=split)


def _check(recipe: Recipe) -> None:
    if recipe.category not in CATEGORIES:
        msg = f"TextureDemo has no category {recipe.category!r}: choose one of {', '.join(CATEGORIES)}."
        raise ValueError(msg)
    if not MIN_CROP <= recipe.crop_size <= MAX_CROP:
        msg = f"crop_size is {recipe.crop_size}, expected {MIN_CROP} to {MAX_CROP}: choose a size that fits the bands."
        raise ValueError(msg)
