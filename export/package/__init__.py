"""The bundle: pipeline (from a stage checkpoint to a folder in place) and seal (its golden clip and manifest)."""
