import io
import json
import shutil

import numpy as np
import pytest
import yaml
from helpers import tiny
from numpy.testing import assert_allclose, assert_array_equal

from mlip.potential import models
from mlip.potential.architecture import Architecture
from mlip.potential.potential import Evaluator

E0 = {"Li": -1.0, "O": -2.0, "Mg": -3.0, "Ti": -4.0}


def spoiled(committee, folder):
    shutil.copytree(committee, folder)
    return folder


def energies(model):
    return Evaluator(model)([tiny.rattled(), tiny.rattled("Ti2O4", seed=1)])


def test_reference_energies_alone_where_atoms_see_nobody():
    shape = models.scratch_shape(tiny.ARCHITECTURE, e0_ev=E0, force_rms=1.0, neighbours=10.0)
    released = models.Released((models.build(shape),), shape, {"target": "pbe"}, "here")
    atoms = tiny.rattled()
    atoms.set_cell(10 * atoms.cell, scale_atoms=True)
    far = Evaluator(released)([atoms])[0]
    assert_allclose(far.energy_ev, -4.0 - 2 * 2.0 - 1.0 - 3.0, rtol=1e-12, atol=0)
    assert_allclose(far.mean_forces, 0.0, atol=1e-12)
    assert released.elements == ("Li", "O", "Mg", "Ti")
    assert released.cutoff_angstrom == 3.5


def test_round_trip_through_safetensors_is_exact(committee, tmp_path):
    first = models.load(committee)
    again = tmp_path / "again"
    models.save(again, shape=first.shape, weights=[m.state_dict() for m in first.members], card=first.card)
    second = models.load(again)
    assert second.card == first.card
    assert second.shape == first.shape
    for a, b in zip(energies(first), energies(second), strict=True):
        assert_array_equal(a.energies_ev, b.energies_ev)
        assert_array_equal(a.forces, b.forces)


def test_folder_holds_no_pickle(committee):
    assert sorted(p.name for p in committee.iterdir()) == [
        "card.yaml",
        "member-1.safetensors",
        "member-2.safetensors",
        "model.json",
    ]
    assert json.loads((committee / "model.json").read_text())["interaction_cls"].endswith("Block")


def test_saving_a_smaller_committee_leaves_no_old_member(committee, tmp_path):
    folder = spoiled(committee, tmp_path / "m")
    whole = models.load(folder)
    models.save(folder, shape=whole.shape, weights=[whole.members[1].state_dict()], card=whole.card)
    assert len(models.load(folder).members) == 1


def test_members_are_in_numeric_order(committee, tmp_path):
    whole = models.load(committee)
    one, two = (m.state_dict() for m in whole.members)
    models.save(tmp_path / "m", shape=whole.shape, weights=[one, two, *[one] * 8], card=whole.card)
    many = models.load(tmp_path / "m").members  # member-10 must not come before member-2
    weight = "products.0.linear.weight"
    assert_array_equal(many[1].state_dict()[weight], two[weight])
    assert not np.array_equal(one[weight], two[weight])


def test_target_of_the_card(committee, tmp_path):
    assert models.load(committee).target == "pbe"
    folder = spoiled(committee, tmp_path / "m")
    (folder / "card.yaml").write_text(yaml.safe_dump({"target": "b3lyp"}))
    with pytest.raises(ValueError, match=r"names no target \('b3lyp'\)"):
        _ = models.load(folder).target


def test_exported_file_gives_the_same_numbers_in_mace(committee, tmp_path):
    from mace.calculators import MACECalculator

    released = models.load(committee)
    path = tmp_path / "member.model"
    models.export_mace(released, path, member=2)
    calculator = MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64")
    for atoms, ours in zip([tiny.rattled(), tiny.rattled("Ti2O4", seed=1)], energies(released), strict=True):
        atoms.calc = calculator
        assert_allclose(ours.energies_ev[1], atoms.get_potential_energy(), rtol=0, atol=1e-10)
        assert_allclose(ours.forces[1], atoms.get_forces(), rtol=0, atol=1e-10)


def test_trusted_export_loads_again(committee, tmp_path):
    released = models.load(committee)
    models.export_mace(released, tmp_path / "m.model")
    with pytest.raises(ValueError, match="is a pickle and runs the code inside it"):
        models.load(tmp_path / "m.model")
    again = models.load(tmp_path / "m.model", trust_pickle=True)
    assert_allclose(energies(again)[0].energies_ev[0], energies(released)[0].energies_ev[0], rtol=0, atol=1e-10)
    assert again.elements == released.elements
    assert again.cutoff_angstrom == released.cutoff_angstrom


def older_file(path):
    """A file as older versions of mace-torch wrote them (MACE-OMAT-0 is one): no flags of zeroed weights, other buffers of the repulsion, flat E0."""
    import torch

    shape = models.scratch_shape(tiny.ARCHITECTURE, e0_ev=E0, force_rms=1.0, neighbours=10.0) | {"pair_repulsion": True}
    model = models.build(shape)
    for name, part in model.named_modules():
        if name.endswith("pair_repulsion_fn"):
            part.register_buffer("r_max", torch.tensor(3.5))
        for key in [k for k, _ in part.named_buffers(recurse=False) if k.endswith("_zeroed")]:
            delattr(part, key)
    model.atomic_energies_fn.atomic_energies = model.atomic_energies_fn.atomic_energies.flatten()
    torch.save(model, path)
    return model


def test_foundation_file_of_an_older_mace(tmp_path):
    from mace.calculators import MACECalculator

    model = older_file(tmp_path / "old.model")
    released = models.load(tmp_path / "old.model", trust_pickle=True)
    assert released.shape["atomic_energies"] == [list(E0.values())]
    assert "pair_repulsion_fn.r_max" in model.state_dict()
    assert "pair_repulsion_fn.r_max" not in released.members[0].state_dict()
    atoms = tiny.rattled()
    atoms.calc = MACECalculator(model_paths=str(tmp_path / "old.model"), device="cpu", default_dtype="float64")
    ours = Evaluator(released)([atoms])[0]
    assert_allclose(ours.energy_ev, atoms.get_potential_energy(), rtol=0, atol=1e-9)
    assert_allclose(ours.mean_forces, atoms.get_forces(), rtol=0, atol=1e-9)


def test_file_with_weights_that_no_version_of_mace_has(tmp_path):
    import torch

    model = older_file(tmp_path / "old.model")
    model.register_buffer("charge", torch.tensor(1.0))
    torch.save(model, tmp_path / "odd.model")
    with pytest.raises(ValueError, match=r"cannot be rebuilt \(weights that do not fit: charge"):
        models.load(tmp_path / "odd.model", trust_pickle=True)


def test_file_whose_energy_the_rebuilt_model_does_not_give(tmp_path):
    import torch

    model = older_file(tmp_path / "old.model")
    model.scale_shift.scale = 2 * model.scale_shift.scale
    model.radial_embedding.cutoff_fn.p = torch.tensor(5.0) + 1
    model.radial_embedding.cutoff_fn.r_max = 0.9 * model.radial_embedding.cutoff_fn.r_max
    model.pair_repulsion_fn.covalent_radii = 2 * model.pair_repulsion_fn.covalent_radii
    torch.save(model, tmp_path / "m.model")
    models.load(tmp_path / "m.model", trust_pickle=True)  # all of this is in the file and is taken over
    model.radial_embedding.apply_cutoff = False  # this is not
    torch.save(model, tmp_path / "other.model")
    with pytest.raises(ValueError, match="energy of eight atoms differs by"):
        models.load(tmp_path / "other.model", trust_pickle=True)


def of_kind(**changes):
    """A MACE model with random weights whose arguments differ in these from the usual ones."""
    import torch
    from mace.tools.torch_tools import default_dtype

    small = tiny.ARCHITECTURE.model_copy(update={"channels": 2, "max_l": 0, "max_ell": 1})
    shape = models.scratch_shape(small, e0_ev=E0, force_rms=100.0, neighbours=10.0) | changes
    torch.manual_seed(1)
    with default_dtype(torch.float64):
        return models.build(shape)


@pytest.mark.parametrize(
    "changes",
    [
        {"distance_transform": "Agnesi", "pair_repulsion": True},
        {"distance_transform": "Soft", "radial_MLP": [16]},
        {"use_so3": True},
        {"num_interactions": 1},
        {"interaction_cls_first": "RealAgnosticDensityInteractionBlock"},
    ],
    ids="-".join,
)
def test_other_kinds_of_mace_are_evaluated_as_mace_torch_does(changes, tmp_path):
    """From the file, from a folder of its weights, and by mace-torch from the file that is exported again."""
    import torch
    from mace.calculators import MACECalculator

    torch.save(of_kind(**changes), tmp_path / "a.model")
    released = models.load(tmp_path / "a.model", trust_pickle=True)
    card = {"target": "pbe"}
    models.save(tmp_path / "m", shape=released.shape, weights=[released.members[0].state_dict()], card=card)
    again = models.load(tmp_path / "m")
    models.export_mace(again, tmp_path / "b.model")
    atoms = tiny.rattled()
    atoms.calc = MACECalculator(model_paths=str(tmp_path / "b.model"), device="cpu", default_dtype="float64")
    assert np.abs(atoms.get_forces()).max() > 1e-3
    for model in (released, again):
        ours = Evaluator(model)([atoms])[0]
        assert_allclose(ours.energy_ev, atoms.get_potential_energy(), rtol=0, atol=1e-9)
        assert_allclose(ours.mean_forces, atoms.get_forces(), rtol=0, atol=1e-9)


def without(model, *names):
    """The model without parts that mace-torch asks for."""
    for name in names:
        delattr(model, name)
    return model


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: of_kind(radial_type="gaussian"), "radial functions of the kind GaussianBasis; only Bessel"),
        (lambda: of_kind(radial_type="chebyshev"), "radial functions of the kind ChebychevBasis; only Bessel"),
        (lambda: of_kind(correlation=[3, 2]), "cannot be rebuilt"),
        (lambda: without(of_kind(), "spherical_harmonics"), r"cannot be read from the file \(AttributeError"),
        (lambda: without(of_kind(), "radial_embedding"), "only Bessel"),
        (
            lambda: of_kind(
                heads=["a", "b"],
                atomic_energies=[list(E0.values())] * 2,
                atomic_inter_scale=[1.0, 1.0],
                atomic_inter_shift=[0.0, 0.0],
            ),
            r"has the heads \['a', 'b'\]; extract one with mace_select_head",
        ),
        (lambda: of_kind(hidden_irreps="2x0e+2x0o+2x1e+2x1o"), "cannot be rebuilt"),
    ],
)
def test_kinds_of_mace_that_cannot_be_used_are_refused_in_one_line(make, match, tmp_path):
    import torch

    torch.save(make(), tmp_path / "a.model")
    with pytest.raises(ValueError, match=match) as told:
        models.load(tmp_path / "a.model", trust_pickle=True)
    assert str(told.value).startswith(f"{tmp_path / 'a.model'}: ")
    assert "\n" not in str(told.value)


def test_export_of_a_member_that_is_not_there(committee, tmp_path):
    with pytest.raises(ValueError, match=r"member 3: .* has members 1 to 2"):
        models.export_mace(models.load(committee), tmp_path / "m.model", member=3)


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match="no such model"):
        models.load(tmp_path / "none")
    with pytest.raises(ValueError, match="not a model folder"):
        models.load(tmp_path)


def test_folder_without_card_was_not_written_whole(committee, tmp_path):
    folder = spoiled(committee, tmp_path / "m")
    (folder / "card.yaml").unlink()
    with pytest.raises(ValueError, match=r"has no card\.yaml: the model was not written whole"):
        models.load(folder)


@pytest.mark.parametrize("kept", [0, 5, 2000])
def test_truncated_weights(committee, tmp_path, kept):
    folder = spoiled(committee, tmp_path / "m")
    weights = folder / "member-2.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"damaged model \(SafetensorError"):
        models.load(folder)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("model.json", "{", "JSONDecodeError"),
        ("model.json", "[1, 2]", "must hold mappings"),
        ("model.json", "{}", "KeyError"),
        ("card.yaml", "", "must hold mappings"),
        ("card.yaml", "a: [", "ParserError"),
    ],
)
def test_damaged_text(committee, tmp_path, name, text, reason):
    folder = spoiled(committee, tmp_path / "m")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=f"damaged model .*{reason}"):
        models.load(folder)


def test_stray_file_among_the_members(committee, tmp_path):
    folder = spoiled(committee, tmp_path / "m")
    (folder / "member-x.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged model"):
        models.load(folder)


def test_architecture_may_only_name_blocks_of_mace(committee, tmp_path):
    folder = spoiled(committee, tmp_path / "m")
    shape = json.loads((folder / "model.json").read_text())
    for key, value, reason in (
        ("interaction_cls", "Callable", "no building block"),
        ("gate", "__import__", "activation"),
    ):
        (folder / "model.json").write_text(json.dumps(shape | {key: value}))
        with pytest.raises(ValueError, match=reason):
            models.load(folder)


def test_trusted_files_that_are_no_models(tmp_path):
    import torch

    garbage = tmp_path / "garbage.model"
    garbage.write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match="not a MACE model"):
        models.load(garbage, trust_pickle=True)
    other = tmp_path / "other.model"
    torch.save(torch.nn.Linear(2, 2), other)
    with pytest.raises(ValueError, match="holds a Linear, not a MACE model"):
        models.load(other, trust_pickle=True)


def test_pickle_without_trust_is_not_opened(tmp_path):
    import torch

    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    buffer = io.BytesIO()
    torch.save(Bomb(), buffer)
    (tmp_path / "bomb.model").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"train\.trust_pickle: true or --trust-pickle"):
        models.load(tmp_path / "bomb.model")
    assert not (tmp_path / "exploded").exists()


def test_element_without_reference_energy():
    with pytest.raises(ValueError, match=r"no reference energy for \['Mg'\]"):
        models.scratch_shape(Architecture(), e0_ev={"Li": 0.0, "O": 0.0, "Ti": 0.0}, force_rms=1.0, neighbours=1.0)


def test_disk_full_while_saving(committee, tmp_path, monkeypatch):
    full = OSError(28, "No space left on device")
    released = models.load(committee)

    def refuse(*_):
        raise full

    monkeypatch.setattr("mlip.core.files.os.fsync", refuse)
    with pytest.raises(ValueError, match="No space left on device"):
        models.save(tmp_path / "m", shape=released.shape, weights=[released.members[0].state_dict()], card={})
    with pytest.raises(ValueError, match="No space left on device"):
        models.export_mace(released, tmp_path / "m.model")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
