"""Combiners turn experts' outputs into logits: fusion (TD-MoE), mixture, scores_alone, mean_frame."""
