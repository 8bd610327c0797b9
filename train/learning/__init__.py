"""The gradient steps of one stage, whatever the method.

Read in this order: inputs (a stage's clips), encode (their frozen features), stage_clips (what a method sees of them),
fit (SGD), snapshot (a fit that was killed goes on), distributed (several processes on one run).
"""
