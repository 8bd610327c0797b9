"""The paper's rows without experts: V = V̄, the encoder's adapters under L^S_Cont + w · L_FSSD (method §5).

Without adapters nothing trains (the row "frozen"); `preservation.weight = 0` leaves FSSD out. An untrained expert is
the identity, so that the head's V^st is V̄ too.
"""

from __future__ import annotations

from torch import Tensor, nn

from stpr.train.learning.fit import Fit, Rows, Terms, fit
from stpr.train.learning.inputs import StageInputs
from stpr.train.methods.stage_start import begin, class_vectors_of, give_single_expert
from stpr.train.methods.stpr import Objective, remember_importance, teacher_of
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, how: Fit) -> list[Terms]:
    """Tune the adapters, where there are any, to this stage; returns the loss curves."""
    offset = begin(model, inputs)
    vectors = class_vectors_of(classes, inputs, model.encoder, recipe)
    teacher = teacher_of(model, inputs, vectors, recipe)
    give_single_expert(model, vectors)
    if not model.encoder.adapter_parameters():
        return []
    objective = EncoderAlone(
        model.encoder, nn.Identity(), model.head.class_vectors, recipe, offset=offset, teacher=teacher
    )
    curves = fit(objective, inputs, how)
    remember_importance(model, inputs, offset, recipe)
    return curves


class EncoderAlone(Objective):
    """L = L^S_Cont + w · L_FSSD; [contrast] spatial has no say, since there is no other term."""

    def contrasted(self, features: Tensor) -> Rows:
        """V̄ of frame features `(B, T, D)`."""
        return {"contrast_s": features.mean(dim=1)}
