"""Run in two processes: learn made-up stages by several methods and leave the weights; rank 0 writes.

`python two_processes.py FOLDER`, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set as a launcher does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from stpr.train.learning.distributed import Processes, launched
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.methods.build import build_model
from stpr.train.run.checkpoint import kept_tensors
from stpr.train.settings.recipe import Recipe
from tests.train.synthetic import ADAPTED, OURS, STAGES, learn_one, make_inputs, make_recipe

FEW = {"optimizer": {"batch": 4, "epochs_first": 2, "epochs_later": 2}}
CASES: dict[str, dict[str, Any]] = {
    "stpr": {**ADAPTED, "contrast": {"temperature": 0.05, "random_negatives": 3}},
    "stored": {**ADAPTED, "preservation": {"classes": "old"}},
    "lwf": {**ADAPTED, **OURS, "method": "lwf"},
    "ewc": {**ADAPTED, **OURS, "method": "ewc"},
}


def learn_shared(recipe: Recipe, processes: Processes) -> dict[str, torch.Tensor]:
    """Two stages of 5 clips each, so that the last batch of 4 is a single clip and one process has none."""
    torch.manual_seed(recipe.seed)
    model = build_model(recipe)
    for stage in (1, 2):
        whole = make_inputs(stage, clips=3)
        inputs = FrozenFeatures(whole.features[:5], whole.labels[:5], processes)
        learn_one(model, STAGES[stage - 1], inputs, recipe, stage)
    return kept_tensors(model.eval())


def main(folder: Path) -> None:
    with launched() as processes:
        for name, tables in CASES.items():
            tensors = learn_shared(make_recipe(**tables, **FEW), processes)
            save_file(tensors, folder / f"{name}-{processes.index}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
