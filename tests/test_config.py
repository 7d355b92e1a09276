import pytest
import yaml
from helpers import tiny
from pydantic import BaseModel

from mlip import config
from mlip.stages.neb.settings import NebSettings
from mlip.stages.train.settings import TrainSettings

CONFIGS = sorted((tiny.REPOSITORY / "configs").glob("*.yaml"))


def load(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_shipped_config_is_valid(path):
    assert {name: type(section) for name, section in config.load(path).items()} == config.sections()


def test_there_are_shipped_configs():
    assert "quick.yaml" in [p.name for p in CONFIGS]


def test_a_file_states_what_differs(tmp_path):
    changed = load(tmp_path, "train:\n  members: 4\n")
    assert changed["train"].members == 4
    assert changed["train"].epochs == TrainSettings().epochs
    assert changed["neb"] == NebSettings()


def test_a_whole_config_survives_yaml(tmp_path):
    given = load(tmp_path, yaml.safe_dump(tiny.run_settings()))
    dumped = {name: section.model_dump(mode="json") for name, section in given.items()}
    assert load(tmp_path, yaml.safe_dump(dumped)) == given


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        NebSettings().images = 7


def sections(model, path):
    """A section of the schema and those inside it, each with its path."""
    yield path
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, (*path, name))


PATHS = [(), *(path for name, kind in config.sections().items() for path in sections(kind, (name,)))]


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_unknown_key_at_every_level(tmp_path, path):
    settings = {"misspelt": 1}
    for name in reversed(path):
        settings = {name: settings}
    where = ".".join((*path, "misspelt")).replace(".", r"\.")
    with pytest.raises(ValueError, match=rf"c\.yaml: {where}: unknown key"):
        load(tmp_path, yaml.safe_dump(settings))


def test_unknown_key_of_a_facet(tmp_path):
    text = "structures:\n  facets:\n    - {name: '001', miller: [0, 0, 1], layer: 4}\n"
    with pytest.raises(ValueError, match=r"structures\.facets\.0\.layer: unknown key"):
        load(tmp_path, text)


def test_all_problems_are_told_at_once(tmp_path):
    text = """
neb: {imgaes: 5, max_steps: 0}
train: {members: many, architecture: {chanels: 3}}
comon: {}
"""
    with pytest.raises(ValueError, match="unknown key") as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()
    paths = {line.split(": ")[1] for line in lines}
    assert paths == {"neb.imgaes", "neb.max_steps", "train.members", "train.architecture.chanels", "comon"}
    assert all(line.startswith(str(tmp_path / "c.yaml")) for line in lines)
    assert next(line for line in lines if "train.members" in line).endswith("(got 'many')")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("common: {seed: -1}", r"common\.seed: .*\(got -1\)"),
        ("common: {device: gpu}", r"common\.device: .*'cpu' or 'cuda'.*\(got 'gpu'\)"),
        ("neb: {images: 2}", r"neb\.images: .*greater than or equal to 3"),
        ("neb: {fmax_ev_per_angstrom: 0}", r"neb\.fmax_ev_per_angstrom: .*greater than 0"),
        ("neb: {fmax_ev_per_angstrom: .inf}", r"neb\.fmax_ev_per_angstrom: .*finite"),
        ("neb: {fmax_ev_per_angstrom: .nan}", r"neb\.fmax_ev_per_angstrom: "),
        ("dataset: {valid_fraction: 0.5}", r"dataset\.valid_fraction: .*less than 0\.5"),
        ("structures: {ions: [Lx]}", r"structures: ions: give distinct chemical symbols such as Li, got \['Lx'\]$"),
        ("structures: {ions: [Li, Li]}", "structures: ions: give distinct"),
        ("structures: {ions: []}", "structures: ions: give distinct"),
        ("train: {architecture: {elements: [Ti, Oxygen]}}", r"train\.architecture: elements: give distinct"),
        ("structures: {facets: [{name: 'a b', miller: [0, 0, 1]}]}", r"structures\.facets\.0\.name: "),
        ("structures: {facets: [{name: ../x, miller: [0, 0, 1]}]}", r"structures\.facets\.0\.name: "),
        ("structures: {facets: [{name: a, miller: [0, 0, 0]}]}", r"structures\.facets\.0: miller: \(0, 0, 0\) is no"),
        ("structures: {facets: [{name: bulk, miller: [0, 0, 1]}]}", "facets: names must differ .* from 'bulk'"),
        ("structures: {facets: [{name: a, miller: [1, 0, 0]}, {name: a, miller: [0, 0, 1]}]}", "names must differ"),
        ("structures: {facets: [{name: 001, miller: [0, 0, 1]}]}", r"facets\.0\.name: .*string.*\(got 1\)"),
    ],
)
def test_values_outside_the_limits(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no sections"), ("- 1", "holds no sections"), ("a: [", "is not valid YAML"), ("a: b: c", "not valid")],
)
def test_files_that_are_no_config(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        config.load(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not valid YAML"):
        config.load(tmp_path / "bytes.yaml")
