"""The network, organised as in the paper.

Read in this order: backbone, adapters, encoder (frames to features), experts, class_vectors, scores/ (class scores from
clip statistics), routing, combiners/ (experts' outputs to logits), head (experts and combiner), stpr (the whole).

Shapes, everywhere in training and export:

    N frames   B clips   T frames per clip (the paper's N_f)   W backbone width   D feature width (d_vt)
    E experts, one per stage (the paper's tasks 1..b)   C classes seen so far   S width of the clip statistics

    frames    (B, T, H, W, 3) uint8 RGB, resized          features  (B, T, D)   V^s_i
    static    (B, D)     mean of the features over T      outputs   (B, E, D)   V^st_k
    temporal  (B, E, D)  outputs - static: V^tem_k        routing   (B, E)      r_k
"""
