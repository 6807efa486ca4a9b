"""What at least two models are built from, without any paper's constants."""
