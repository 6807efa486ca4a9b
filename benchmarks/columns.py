"""The columns of a table of runs, with the names that a report gives them."""

ACCURACY = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1": "image F1",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO 0.3",
    "aupro_05": "AUPRO 0.05",
}
COSTS = {
    "train_s": "training, s",
    "test_s": "test, s",
    "latency_ms": "latency, ms",
    "images_per_s": "images a second",
    "peak_mb": "memory, MB",
    "size_mb": "size, MB",
}
DECISIONS = {
    "image_f1_host": "image F1 by anomalib's threshold",
    "image_f1_best": "best image F1",
    "recall": "recall",
    "false_alarms": "false alarms",
    "good_images": "good test images",
    "pg2": "PG2",
    "pb2": "PB2",
    "pixel_f1": "pixel F1",
    "pixel_f1_host": "pixel F1 by anomalib's threshold",
    "pixel_f1_best": "best pixel F1",
    "false_masks": "false masks",
    "aupimo": "AUPIMO",
}
LABELS = ACCURACY | COSTS | DECISIONS
KEYS = ["set", "model", "seed"]
COLUMNS = [*KEYS, *LABELS]
REQUIRED = [*KEYS, *ACCURACY, *COSTS]  # older tables of runs have no decisions
