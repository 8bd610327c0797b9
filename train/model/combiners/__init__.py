"""What a head does with its experts' outputs, one file for each way: fusion (TD-MoE), scores_alone, mean_frame."""
