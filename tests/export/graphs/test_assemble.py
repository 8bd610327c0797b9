"""The exported graphs against PyTorch, for every kind of router, adapter and expert (sizes: test_grid.py)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.graphs.cut import combine_piece, encoder_piece, graph_specs
from stpr.export.graphs.trace import tensors_of, trace
from stpr.export.graphs.weights import BACKBONE, HALF, PROJECTION, STAGE, expert_file
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.engines.tensorrt_builder import build_plan
from stpr.train.model.backbone import load_backbone
from stpr.train.model.experts import Expert
from stpr.train.model.rounding import rounded
from stpr.train.model.stpr import StPR
from tests.export.models import (
    MOTION,
    check_graphs,
    head_settings,
    random_backbone,
    random_model,
    views_settings,
)

SELDOM = pytest.mark.rare  # what these forms have, the others, test_grid or test_motion have as well
# backbone, adapter, projection, stages, frames, and all views of a clip or router, what experts see, evidence, unit
# lengths, a lean expert's width
GRID: list[Any] = [
    ("tiny", "none", 0, 1, 4, "raw", "frames", 0.0, True, 0),
    ("clip", "blocks", 0, 2, 8, "likelihood", "residual", 0.5, True, 0),
    pytest.param(("mobilenet", "feature", 16, 5, 4, "softmax", "residual", 0.0, True, 8), marks=SELDOM),
    pytest.param(("clip", "none", 16, 5, 8, "top1", "frames", 0.0, False, 0), marks=SELDOM),
    pytest.param(("clip", "feature", 16, 2, 4, "equal", "frames", 0.5, True, 4), marks=SELDOM),
    pytest.param(("mobilenet", "feature", 16, 2, 4, "views"), marks=SELDOM),
    ("vit", "none", 0, 2, 4, "raw", "frames", 0.0, True, 0),
]


@dataclass(frozen=True)
class Exported:
    model: StPR
    folder: Path

    def graph(self, name: GraphName) -> onnx.ModelProto:
        return onnx.load(self.folder / f"{name}.onnx")


@pytest.fixture(scope="module", params=GRID, ids=lambda row: "-".join(map(str, row)))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    backbone, place, projection, stages, frames, *form = request.param
    views = form == ["views"]
    if views:
        settings = views_settings()
    else:
        router, sees, evidence, normalise, lean = form
        settings = head_settings(router, sees=sees, evidence=evidence, normalise=normalise, lean=lean)
    torch.manual_seed(0)
    model = random_model(
        backbone=load_backbone("tiny")
        if backbone == "tiny"
        else random_backbone(backbone, (1, 2) if views else "none"),
        stages=stages,
        frames=frames,
        place=place,
        projection=projection,
        settings=settings,
        motion=MOTION if views else None,
    )
    if views:  # as after training: matrices that half precision holds exactly
        with torch.no_grad():
            for value in [*model.encoder.adapter_parameters(), *model.head.experts.parameters()]:
                value.copy_(rounded(value) if value.ndim > 1 else value)
    folder = tmp_path_factory.mktemp("graphs")
    write_onnx(model, trace_pieces(model), folder)
    return Exported(model, folder)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_graph_does_what_pytorch_does(exported: Exported, batch: int) -> None:
    check_graphs(exported.model, exported.folder, batch)


@pytest.mark.parametrize("name", GraphName)
def test_a_graph_is_opset_18_and_ir_10_without_einsum_functions_or_paths(exported: Exported, name: GraphName) -> None:
    graph = exported.graph(name)
    assert (graph.ir_version, [(entry.domain, entry.version) for entry in graph.opset_import]) == (10, [("", 18)])
    assert not graph.functions
    kinds = {node.op_type for node in graph.graph.node}
    assert "Einsum" not in kinds
    # Engines that compute shapes on the CPU leave their accelerator for them.
    assert not kinds & {"Shape", "Range", "Expand", "ConstantOfShape"}
    assert not any(attribute.name == "allowzero" for node in graph.graph.node for attribute in node.attribute)
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    assert b".py" not in (exported.folder / f"{name}.onnx").read_bytes()


@pytest.mark.parametrize("name", GraphName)
def test_no_product_of_matrices_is_scaled_by_a_number_of_a_weight_file(exported: Exported, name: GraphName) -> None:
    """onnxruntime-web fuses the two, and can't read the number there."""
    graph = onnx.load(exported.folder / f"{name}.onnx", load_external_data=False).graph
    outside = {tensor.name for tensor in graph.initializer if tensor.external_data and math.prod(tensor.dims) == 1}
    products = {node.output[0] for node in graph.node if node.op_type == "MatMul"}
    scales = [node for node in graph.node if node.op_type in {"Mul", "Div"} and products & {*node.input}]
    assert not [node.name for node in scales if outside & {*node.input}]


@pytest.mark.parametrize("name", GraphName)
def test_no_output_is_read_inside(exported: Exported, name: GraphName) -> None:
    graph = exported.graph(name).graph
    read = {taken for node in graph.node for taken in node.input}
    assert not read & {value.name for value in graph.output}


@pytest.mark.parametrize("name", GraphName)
def test_inputs_and_outputs_are_those_of_the_spec(exported: Exported, name: GraphName) -> None:
    graph = exported.graph(name).graph
    spec = graph_specs(exported.model)[name]
    for values, tensors in ((graph.input, spec.inputs), (graph.output, spec.outputs)):
        found = [
            (
                value.name,
                onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim),
            )
            for value in values
        ]
        assert found == [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
        assert all(shape[0] == "batch" for _, _, shape in found)


def test_every_initialiser_is_a_tensor_of_pytorch_bit_by_bit(exported: Exported) -> None:
    model = exported.model
    owners = {"encoder": model.encoder, "combine": combine_piece(model).module}
    owners |= {f"expert_{stage}": expert for stage, expert in enumerate(model.head.experts, start=1)}
    seen = set()
    for name in GraphName:
        for initialiser in exported.graph(name).graph.initializer:
            owner, _, local = initialiser.name.removesuffix(HALF).partition("/")
            found = numpy_helper.to_array(initialiser)
            tensors = tensors_of(owners[owner]) if owner in owners else {}
            tensor = _stored(local, tensors)
            if tensor is None:
                assert found.nbytes < 64, initialiser.name  # a shape or a scalar of the graph itself
            else:
                np.testing.assert_array_equal(found, tensor.detach().numpy(), err_msg=initialiser.name)
                seen.add(initialiser.name.removesuffix(HALF))
    learnt = {
        f"{owner}/{name}"
        for owner, module in owners.items()
        if owner != "combine"
        for name, _ in module.named_parameters()
    }
    assert learnt <= {name.removesuffix(".10") for name in seen}


def _stored(local: str, tensors: dict[str, Tensor]) -> Tensor | None:
    name = local.removesuffix(".10")
    if name not in tensors:
        return None
    return tensors[name] if name == local else tensors[name].T


def test_what_half_precision_holds_is_stored_in_it(exported: Exported) -> None:
    graph = exported.graph(GraphName.HEAD).graph
    kinds = {one.name: onnx.helper.tensor_dtype_to_np_dtype(one.data_type) for one in graph.initializer}
    narrow = [name for name in kinds if name.endswith(HALF)]
    assert all(kinds[name] == np.float16 for name in narrow)
    assert any(name.startswith("expert_1/") for name in narrow) == (exported.model.encoder.pixels.motion is not None)
    widened = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Cast"}
    assert {name: widened[name] for name in narrow} == {name: name.removesuffix(HALF) for name in narrow}


def test_graphs_hold_no_weights_and_each_is_stored_once(exported: Exported) -> None:
    places: dict[str, set[tuple[str, str]]] = {}
    for name in GraphName:
        graph = onnx.load(exported.folder / f"{name}.onnx", load_external_data=False).graph
        for initialiser in graph.initializer:
            entries = {entry.key: entry.value for entry in initialiser.external_data}
            if entries:
                assert int(entries["offset"]) % 64 == 0
                places.setdefault(initialiser.name, set()).add((entries["location"], entries["offset"]))
    assert all(len(found) == 1 for found in places.values())
    assert len({place for found in places.values() for place in found}) == len(places)
    # Each lies with what changes as seldom as itself.
    for weight, found in places.items():
        owner, _, local = weight.partition("/")
        file = STAGE if owner == "combine" or "adapter" in local.split(".") else BACKBONE
        file = PROJECTION if local.startswith("projection.") else file
        file = expert_file(int(owner.removeprefix("expert_"))) if owner.startswith("expert_") else file
        assert {location for location, _ in found} == {file}, weight


@pytest.mark.parametrize("name", GraphName)
def test_tensorrt_builds_it(exported: Exported, name: GraphName) -> None:
    library = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX, which builds without a GPU, is not installed")
    built = build_plan(exported.folder / f"{name}.onnx", library=library, capability="SM86")
    assert len(built.plan) > 1000
    assert built.types["FLOAT"] > 0


def test_onnxruntime_runs_each_gelu_of_the_head_as_one_node(exported: Exported, tmp_path: Path) -> None:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.optimized_model_filepath = str(tmp_path / "run.onnx")
    file = exported.folder / "head.onnx"
    onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "run.onnx", load_external_data=False).graph
    found = Counter(node.op_type for node in optimised.node)
    layers = sum(len(expert.blocks) for expert in exported.model.head.experts if isinstance(expert, Expert))
    assert layers > 0
    assert (found["Gelu"] + found["BiasGelu"], found["Erf"]) == (layers, 0)


@pytest.mark.rare  # traces a graph that test_motion proves
def test_motion_is_plain_products_and_sums_that_every_engine_has() -> None:
    """Nothing that asks for shapes while it runs: small engines reject it, and TensorRT plans worse."""
    torch.manual_seed(0)
    plain, moving = (random_model(backbone=load_backbone("tiny"), stages=1, motion=motion) for motion in (None, MOTION))
    kinds = [Counter(node.op_type for node in trace(encoder_piece(model)).nodes) for model in (plain, moving)]
    added = kinds[1] - kinds[0]
    assert added["Conv"] >= 2
    assert not {"Shape", "Range", "Expand", "Loop", "If", "NonZero", "Einsum"} & set(added)
