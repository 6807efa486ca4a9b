"""What anomalib and Lightning call: the base of all models, their data, thresholds, pictures and exports."""
