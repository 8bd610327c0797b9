"""Make the bundle: pipeline (from stage checkpoint to folder), model card, budget, golden clip and manifest."""
