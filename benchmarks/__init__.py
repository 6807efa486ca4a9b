"""Measurements of the models; every figure in a document names the command here that makes it."""
