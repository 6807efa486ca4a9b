"""The metrics a test run reports unless the user chooses others."""

from anomalib.metrics import AUPRO, AUROC, Evaluator, F1Score


def default_evaluator() -> Evaluator:
    """Make anomalib's evaluator with image and pixel AUROC and F1 and with AUPRO (false positive rate up to 0.3).

    Pixel metrics are left out of the report where the data has no masks. AUROC and AUPRO keep all test maps, on one
    device in host memory: 0.5 MB for an image of 256 x 256 pixels, and 4 MB more while AUROC is computed. Both grow
    with the number of pixels.
    """
    return Evaluator(
        test_metrics=[
            AUROC(fields=["pred_score", "gt_label"], prefix="image_"),
            F1Score(fields=["pred_label", "gt_label"], prefix="image_"),
            AUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_", strict=False),
            F1Score(fields=["pred_mask", "gt_mask"], prefix="pixel_", strict=False),
            AUPRO(fields=["anomaly_map", "gt_mask"], prefix="pixel_", strict=False),
        ],
    )
