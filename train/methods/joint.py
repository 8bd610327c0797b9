"""Joint training, an upper bound: one expert and one set of adapters, retrained on all classes so far.

The objective is that of plain fine-tuning. It keeps the videos of all stages, so it is a reference and not an
exemplar-free method.
"""

from __future__ import annotations

from stpr.train.methods import finetune
from stpr.train.methods.heads import single_expert
from stpr.train.methods.method import Method

METHOD = Method(learn=finetune.learn, head=single_expert, keeps_videos=True)
