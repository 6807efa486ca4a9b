"""I3AD: what looks anomalous by structural similarity is inpainted, by turns."""
