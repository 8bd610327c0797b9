"""The bundle: pipeline (from a stage checkpoint to a folder in place), its card, budget, golden clip and manifest."""
