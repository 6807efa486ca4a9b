"""STCM: texture inferred from two structures through a memory of normal correspondences."""
