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
LABELS = ACCURACY | COSTS
KEYS = ["set", "model", "seed"]
COLUMNS = [*KEYS, *LABELS]
