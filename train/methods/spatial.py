"""The paper's ablations without experts: V = V̄, adapters trained with L^S_Cont + w · L_FSSD (method §5).

Without adapters nothing is trained (row "frozen"); `preservation.weight = 0` removes FSSD. [contrast] spatial is
ignored, since there is no other contrastive term.
"""

from __future__ import annotations

from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.heads import mean_frame
from stpr.train.methods.method import Method
from stpr.train.methods.objective import ClassContrast, ImportanceMemory, Objective
from stpr.train.methods.stage_start import begin, class_vectors_of
from stpr.train.model.combiners.mean_frame import MeanFrame
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, recipe: Recipe, trainer: Trainer) -> list[Terms]:
    """Train the adapters, if any, on this stage; returns the loss curves."""
    memory, combiner = model.memory, model.head.combiner
    assert isinstance(memory, ImportanceMemory)
    assert isinstance(combiner, MeanFrame)
    offset = begin(model, clips)
    vectors = class_vectors_of(clips, recipe)
    teacher = memory.teacher(clips, vectors, offset=offset)
    model.head.add_classes(len(vectors), vectors)
    if not model.encoder.adapter_parameters():
        return []
    contrast = ClassContrast(combiner.class_vectors, recipe.contrast, offset=offset)
    curves = trainer.fit(Objective(model.encoder, None, contrast, teacher), clips)
    memory.update(clips, combiner.class_vectors[offset:], offset=offset)
    return curves


METHOD = Method(learn=learn, head=mean_frame, memory=lambda recipe: ImportanceMemory(recipe.preservation))
