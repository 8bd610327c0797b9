"""The graphs of a bundle, run here: one small seam, one file per engine."""
