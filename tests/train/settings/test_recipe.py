"""Recipes as users write and break them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stpr.runtime.contract.errors import RecipeError
from stpr.train.datasets.csv_list import CsvList
from stpr.train.settings.load import load_recipe, parse_recipe, write_recipe
from stpr.train.settings.recipe import Recipe
from stpr.train.settings.shipped import shipped_recipes

SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "motions"},
    "stages": {"sizes": [1]},
    "backbone": {"source": "tiny"},
}
VIEWS = {"likelihood": "cosine", "concentration": "learnt"}
SECTIONS = [name for name in Recipe.__struct_fields__ if name not in ("name", "method", "seed")]
NO_NAMES = ("", ".", "..", "mine/v2", "/tmp", "-rf", ".hidden", "a\nb", "a\x1b[2J", "\udcff", " ", "a ", "é" * 101)


def message(**changes: Any) -> str:
    """What is said about the small recipe with these changes."""
    with pytest.raises(RecipeError, match=r"^r\.toml: ") as caught:
        parse_recipe({**SMALL, **changes}, where="r.toml")
    assert "\n" not in caught.value.message
    assert "$" not in caught.value.message  # the library's own way to name a place
    return caught.value.message


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_parse_and_bear_their_own_name(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", shipped_recipes())
def test_what_is_written_is_read_again(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, changes=["optimizer.rate=0.125", "seed=7", "name=as long as you like"])
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert load_recipe(str(tmp_path / "recipe.toml")) == recipe
    assert "weight_decay" in (tmp_path / "recipe.toml").read_text(encoding="utf-8")  # defaults are spelt out


@pytest.mark.parametrize("stages", [{"sizes": [2, 3], "seed": 1}, {"classes": [["a", "b"], ["c"]]}])
@pytest.mark.parametrize(
    "data", [{"kind": "folder", "root": "x"}, {"kind": "csv", "root": "x", "train": {"signer": ["1", "2"]}}]
)
def test_every_kind_of_data_and_stages_is_read_again(
    stages: dict[str, Any], data: dict[str, Any], tmp_path: Path
) -> None:
    recipe = parse_recipe({**SMALL, "stages": stages, "data": data}, where="here")
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert load_recipe(str(tmp_path / "recipe.toml")) == recipe


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'motoins' \(did you mean 'motions'\?\).*one of asl24, .*motions"):
        load_recipe("motoins")


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    for content in (b"name = ", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(RecipeError, match=r"bad\.toml can't be read as TOML \([^\n]+\); fix it, or restore"):
            load_recipe(str(tmp_path / "bad.toml"))


def test_an_unknown_key_names_the_nearest_and_all() -> None:
    assert message(methd="stpr").startswith("r.toml: has no key 'methd' (did you mean 'method'?); it knows name, data")


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_of_a_section_names_the_nearest_there(section: str) -> None:
    hint = {field.name: field.type for field in msgspec.structs.fields(Recipe)}[section]
    known = "root" if section == "data" else hint.__struct_fields__[0]
    table = {**SMALL.get(section, {}), f"{known}x": 1}
    assert f"[{section}] has no key '{known}x' (did you mean '{known}'?); it knows" in message(**{section: table})


def test_data_of_one_kind_does_not_offer_the_keys_of_another() -> None:
    said = message(data={"kind": "folder", "root": "x", "seed": 1})
    assert said == "r.toml: [data] has no key 'seed'; it knows kind, root, skip, background."


def test_a_renamed_key_is_answered_with_its_new_name() -> None:
    said = message(contrast={"distractors": 3})
    assert said.startswith("r.toml: [contrast] has no key 'distractors' (renamed: 'random_negatives'); it knows")
    assert "renamed" not in message(data={"kind": "motions", "distractors": 3})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": {"batch": "many"}}, "[optimizer] batch: must be an integer, not 'many'"),
        ({"optimizer": {"batch": 4.5}}, "[optimizer] batch: must be an integer, not 4.5"),
        ({"optimizer": {"rate": True}}, "[optimizer] rate: must be a number, not True"),
        ({"optimizer": 3}, "optimizer: must be a table of settings, not 3"),
        ({"seed": "a"}, "seed: must be an integer, not 'a'"),
        ({"name": 3}, "name: must be a string, not 3"),
        *(({"name": name}, "name: must be a folder's name (printable, no /, not starting") for name in NO_NAMES),
        ({"name": "mine/v2"}, "not 'mine/v2'"),
        ({"contrast": {"spatial": "no"}}, "[contrast] spatial: must be true or false, not 'no'"),
        ({"stages": {"sizes": [1, "b"]}}, "[stages] each entry of sizes: must be an integer, not 'b'"),
        ({"stages": {"classes": [["a"], "b"]}}, "[stages] each entry of classes: must be a list, not 'b'"),
        ({"data": {"kind": "csv", "root": "x", "train": {"a": "b"}}}, "[data] each entry of train: must be a list"),
        ({"data": {"kind": "zip"}}, "[data] kind: must be one of 'motions', 'folder', 'csv', 'ucf101', "),
        ({"router": {"kind": 3}}, "[router] kind: must be a string, not 3"),
        ({"statistics": {"parts": ["mean", "mode"]}}, "[statistics] each entry of parts: must be one of 'mean', "),
        (
            {"statistics": {"parts": ["lag2"]}, "sampling": {"frames": 2}},
            "[statistics] part 'lag2' compares 3 frames or more of a clip, but [sampling] frames is 2; take more",
        ),
        ({"statistics": {"events": True}}, "[statistics] events = true compares directions; set likelihood"),
        (
            {"statistics": {"events": True, "likelihood": "cosine"}, "unknown": {"holdout": 0.0}},
            "[statistics] events = true learns from held-out clips; set [unknown] holdout above 0",
        ),
        (
            {"statistics": {"parts": []}},
            "[statistics] describes nothing of a clip; set parts, inner, motion, rhythm or affine",
        ),
        (
            {"statistics": {"concentration": "learnt"}},
            '[statistics] concentration = "learnt" weighs directions; set likelihood = "cosine"',
        ),
        (
            {"statistics": {"mirror": True}},
            '[statistics] mirror = true compares halves of the clips; set concentration = "learnt"',
        ),
        (
            {"statistics": {**VIEWS, "inner": {"parts": ["mean"]}, "concentration": 64.0}},
            '[statistics] has 2 views, and one concentration can\'t weight them; set concentration = "learnt"',
        ),
        (
            {"backbone": {"source": "tiny", "correlations": [1], "axes": 1}},
            "[backbone] axes = 1 has no other axis to correlate with; take 2 or more",
        ),
        (
            {"backbone": {"source": "tiny", "correlations": [1]}, "statistics": {**VIEWS, "concentration": 64.0}},
            "one concentration can't weight several",
        ),
        (
            {"statistics": {**VIEWS, "inner": {"parts": ["mean"]}}},
            '[statistics] inner describes inner layers; name some in [backbone] inner, or "auto"',
        ),
        (
            {"statistics": {**VIEWS, "inner": {"views": 2}}},
            "[statistics] inner.views = 2 divides inner layers that nothing describes; set inner.parts",
        ),
        (
            {"statistics": {**VIEWS, "motion": {"parts": ["mean"]}}},
            "[statistics] motion, rhythm and affine describe motion; set [sampling] motion, such as 4",
        ),
        (
            {"statistics": {**VIEWS, "affine": True}},
            "[statistics] motion, rhythm and affine describe motion; set [sampling] motion, such as 4",
        ),
        (
            {"statistics": {**VIEWS, "rhythm": True}},
            "[statistics] motion, rhythm and affine describe motion; set [sampling] motion, such as 4",
        ),
        (
            {"statistics": {**VIEWS, "rhythm": True}, "sampling": {"frames": 4, "motion": 2}},
            "[statistics] rhythm looks 8 pairs back, and 4 frames with 2 pairs hold too few; set [sampling] motion or"
            " frames higher",
        ),
        (
            {
                "statistics": {**VIEWS, "motion": {"parts": ["lag2"]}},
                "sampling": {"frames": 2, "motion": 2},
            },
            "[statistics] part 'lag2' compares 3 frames or more of a clip, but [sampling] frames is 2; take more",
        ),
        (
            {"statistics": {"inner": {"shrinkage": 2.0}}},
            "[statistics] inner.shrinkage: must be a number <= 1.0, not 2.0",
        ),
        ({"statistics": {"motion": {"prts": []}}}, "[statistics.motion] has no key 'prts' (did you mean 'parts'?)"),
        (
            {"backbone": {"source": "tiny", "inner": "all"}},
            "[backbone] inner: must be one of 'none', 'auto', 'pairs' or a list, not 'all'",
        ),
        (
            {"backbone": {"source": "tiny", "correlations": "pairs"}},
            "[backbone] correlations: must be 'auto' or a list, not 'pairs'",
        ),
        (
            {"backbone": {"source": "tiny", "projection": "wide"}},
            "[backbone] projection: must be 'auto' or an integer, not 'wide'",
        ),
        ({"backbone": {"source": "tiny", "inner": [-1]}}, "[backbone] each entry of inner: must be an integer >= 0"),
        ({"sampling": {"motion": -1}}, "[sampling] motion: must be an integer >= 0, not -1"),
        (
            {"expert": {"layers": 0}},
            '[expert] layers = 0 leaves no vectors to fuse; set [fusion] kind = "posteriors"',
        ),
        (
            {"fusion": {"kind": "posteriors"}, "unknown": {"holdout": 0.0}},
            '[fusion] kind = "posteriors" tests experts on held-out clips; set [unknown] holdout above 0, or [expert]'
            " layers = 0",
        ),
        ({"data": {}}, "[data] lacks the key 'kind' ('motions', 'folder', 'csv', 'ucf101', "),
        ({"data": {"kind": "ucf101", "root": "x", "split": 4}}, "[data] split: must be an integer <= 3, not 4"),
        ({"data": {"kind": "folder"}}, "[data] lacks the key 'root'; add it"),
        ({"sampling": {"augment": {"flip": True}}}, "[sampling.augment] lacks the key 'multi_scale_crop'; add it"),
        ({"sampling": {"augment": {"flp": True}}}, "[sampling.augment] has no key 'flp' (did you mean 'flip'?)"),
        ({"stages": {}}, "[stages] needs either sizes or classes"),
        ({"stages": {"sizes": [1], "classes": [["a"]]}}, "[stages] needs either sizes or classes"),
        ({"stages": {"sizes": [1], "fixed": True}}, "[stages] needs either sizes or classes or fixed = true"),
        (
            {"class_vectors": {"prompt": ["a {}", "a video"]}},
            "must contain {} where the class name goes, not 'a video'",
        ),
        ({"class_vectors": {"prompt": []}}, "[class_vectors] prompt: must have at least one template"),
        ({"class_vectors": {"prompt": "a video"}}, "[class_vectors] prompt: must contain {} where the class name goes"),
    ],
)
def test_wrong_values_are_told_in_the_words_of_the_recipe(changes: dict[str, Any], said: str) -> None:
    assert said in message(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"statistics": {**VIEWS, "inner": {"parts": ["mean"]}}, "backbone": {"source": "tiny", "inner": [0, 2]}},
        {"statistics": {**VIEWS, "rhythm": True}, "sampling": {"frames": 3, "motion": 3}},
        {"statistics": {**VIEWS, "parts": []}, "sampling": {"motion": 4}} | {"statistics": {**VIEWS, "rhythm": True}},
        {"fusion": {"kind": "posteriors"}, "expert": {"layers": 0}, "unknown": {"holdout": 0.0}},
        {"fusion": {"kind": "posteriors"}},
    ],
)
def test_what_barely_suffices_is_taken_and_read_again(changes: dict[str, Any], tmp_path: Path) -> None:
    changes = {"sampling": {"motion": 4}, **changes}
    recipe = parse_recipe({**SMALL, **changes}, where="here")
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert load_recipe(str(tmp_path / "recipe.toml")) == recipe


@pytest.mark.parametrize(
    ("section", "key", "value", "bound"),
    [
        ("optimizer", "batch", 0, "an integer >= 1"),
        ("optimizer", "rate", 0.0, "a number > 0.0"),
        ("optimizer", "rate", float("nan"), "a number > 0.0"),
        ("optimizer", "momentum", 1.0, "a number < 1.0"),
        ("optimizer", "epochs_first", -1, "an integer >= 0"),
        ("sampling", "frames", 1, "an integer >= 2"),
        ("sampling", "draws", -1, "an integer >= 0"),
        ("sampling", "workers", 0, "an integer >= 1"),
        ("contrast", "temperature", 0.0, "a number > 0.0"),
        ("contrast", "random_negatives", -1, "an integer >= 0"),
        ("router", "temperature", -0.1, "a number > 0.0"),
        ("expert", "heads", 0, "an integer >= 1"),
        ("expert", "dropout", 1.0, "a number < 1.0"),
        ("adapter", "bottleneck", 0, "an integer >= 1"),
        ("statistics", "shrinkage", 1.5, "a number <= 1.0"),
        ("stages", "seed", -1, "an integer >= 0"),
        ("data", "train_per_class", 0, "an integer >= 1"),
    ],
)
def test_numbers_out_of_bounds_never_reach_the_computation(section: str, key: str, value: Any, bound: str) -> None:
    said = message(**{section: {**SMALL.get(section, {}), key: value}})
    assert said == f"r.toml: [{section}] {key}: must be {bound}, not {value!r}."


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("optimizer.rate=0.02", "optimizer.rate", 0.02),
        ("optimizer.rate=1e-3", "optimizer.rate", 0.001),
        ("optimizer.rate=1", "optimizer.rate", 1.0),
        (" optimizer . batch = 8 ", "optimizer.batch", 8),
        ("seed=3", "seed", 3),
        ("method=finetune", "method", "finetune"),
        ("name=two words", "name", "two words"),
        ('name="3"', "name", "3"),
        ("name='a=b'", "name", "a=b"),
        ("name=a=b", "name", "a=b"),
        ("data.root=", "data.root", ""),
        ("name=C:\\clips", "name", "C:\\clips"),
        ("contrast.spatial=false", "contrast.spatial", False),
        ('statistics.parts=["mean"]', "statistics.parts", ("mean",)),
        ("sampling.augment={flip=true, multi_scale_crop=false}", "sampling.augment.flip", True),
        ("sampling.augment.flip=true", "sampling.augment.flip", True),
        ("preservation.weight=0", "preservation.weight", 0.0),
    ],
)
def test_changes_from_the_command_line(change: str, path: str, value: Any) -> None:
    found: Any = load_recipe("motions", changes=[change])
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_the_last_change_holds() -> None:
    assert load_recipe("motions", changes=["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("change", ["seed", "=3", "", ".seed=1", "optimizer..rate=1", "optimizer.=1", "..=1"])
def test_a_change_without_key_or_value_shows_how_to_write_one(change: str) -> None:
    with pytest.raises(RecipeError, match=r"write KEY=VALUE, such as --set optimizer\.rate=0\.02"):
        load_recipe("motions", changes=[change])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("name.x=1", r"'name\.x' can't be set: 'name' is a value, not a table of settings"),
        ("seed.x=1", r"seed: must be an integer, not \{'x': 1\}"),
        ("optimiser.rate=1", r"has no key 'optimiser' \(did you mean 'optimizer'\?\)"),
        ("statistics.parts=[mean", r"\[statistics\] parts: must be a list, not '\[mean'"),
        ("name=2024-01-01", r"name: must be a string, not datetime\.date\(2024, 1, 1\)"),
        ("seed=1\nmethod=2", r"seed: must be an integer, not '1\\nmethod=2'"),
    ],
)
def test_a_change_that_does_not_fit(change: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe("motions", changes=[change])


def test_the_folder_of_the_data_can_be_given_apart(tmp_path: Path) -> None:
    assert load_recipe("motions", root="elsewhere").data.root == "elsewhere"
    (tmp_path / "r.toml").write_text('name = "x"\ndata = 3\n')
    with pytest.raises(RecipeError, match=r"'data\.root' can't be set: 'data' is a value, not a table of settings"):
        load_recipe(str(tmp_path / "r.toml"), root="elsewhere")


def test_csv_rows_are_chosen_by_split_unless_told() -> None:
    data = parse_recipe({**SMALL, "data": {"kind": "csv", "root": "x"}}, where="here").data
    assert isinstance(data, CsvList)
    assert (data.train, data.test) == ({"split": ("train",)}, {"split": ("test",)})


def test_another_seed_draws_other_stages_unless_they_have_a_seed_of_their_own() -> None:
    assert load_recipe("asl24").stages.seed == 0
    assert load_recipe("asl24", changes=["seed=7"]).stages.seed == 7
    assert load_recipe("asl24", changes=["seed=7", "stages.seed=3"]).stages.seed == 3


def test_a_recipe_is_read_without_what_takes_long_to_load() -> None:
    code = "import sys; sys.modules |= dict.fromkeys(['torch', 'cv2', 'transformers']);"  # None: can't be imported
    code += "from stpr.train.settings.load import load_recipe; print(load_recipe('motions').data.root)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "data/motions\n"), done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.rate=1e39", r"\[optimizer\] rate: must be a number <= 1e\+30, not 1e\+39"),
        ("optimizer.rate=nan", r"\[optimizer\] rate: must be a number > 0\.0, not nan"),
        ("adapter.scale=-inf", r"\[adapter\] scale: must be a number >= -1e\+30, not -inf"),
        ("optimizer.batch=99999999999999999999", r"\[optimizer\] batch: must be an integer <= 1000000000"),
    ],
)
def test_numbers_that_nothing_can_be_computed_with_are_refused(change: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe("motions", changes=[change])


def test_a_recipe_may_begin_with_a_mark_of_byte_order(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    write_recipe(parse_recipe(SMALL, where="here"), file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_recipe(str(file)) == parse_recipe(SMALL, where="here")
