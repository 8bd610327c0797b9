"""Train one stage by gradient descent, independent of the method.

Read in this order: inputs (a stage's clips), encode (their frozen features), stage_clips (what a method receives),
fit (SGD), snapshot (continuing an interrupted fit), distributed (several processes on one run).
"""
