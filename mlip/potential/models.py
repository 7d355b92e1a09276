"""Model folders: MACE weights without pickles.

Takes a folder `{model.json, member-1.safetensors, ..., card.yaml}` or a trusted pickled `.model` file; gives torch
modules and their card. A pickle runs whatever code it holds when it is loaded; weights in safetensors and an
architecture in JSON, rebuilt through mace's own classes, do not. MACE: doi:10.48550/arXiv.2206.07697.
"""

import io
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from ase.data import atomic_numbers, chemical_symbols

from mlip.core import texts
from mlip.core.files import located, write_bytes_atomic, write_text_atomic
from mlip.core.process import OF_CALCULATORS, quiet, unchanged
from mlip.core.section import Target
from mlip.potential import calculators
from mlip.potential.architecture import Architecture
from mlip.potential.backends.ase_calculator import Named

GATES = ("silu", "tanh", "abs", "None")
UNSUPPORTED = {"embedding_specs", "edge_irreps"}  # arguments of mace that no released energy model needs
E0 = "atomic_energies_fn.atomic_energies"  # key of the reference energies in a state dict
ADDED = "_zeroed"  # buffers of the products that files of older versions of mace-torch lack; none of theirs is zeroed
# buffers that the repulsion of older files holds and no version uses
DROPPED = {f"pair_repulsion_fn.{k}" for k in ("r_max", "cutoff.p", "cutoff.r_max")}
# what mace-torch and e3nn raise on a model of another kind or version, as their classes are built and asked
ODD = (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError, AssertionError)
COPY = "copy or make it again"
SAME_ENERGY_EV = 1e-6  # of the rebuilt model and its file
BASIS = {"use_reduced_cg": False}  # of products; mace's default gives other weights where cuequivariance is installed


@dataclass(frozen=True)
class Released:
    """A loaded model: its committee members (torch modules, float64, CPU) and what it may be used for."""

    members: tuple[Any, ...]
    shape: dict[str, Any]  # JSON form of the arguments of mace.modules.ScaleShiftMACE
    card: dict[str, Any]
    source: str
    calculator: Named | None = None  # an ASE calculator in the place of weights

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols the model knows, in its own order."""
        return elements_of(self.shape)

    @property
    def cutoff_angstrom(self) -> float:
        """Cutoff radius of the graph."""
        return float(self.shape["r_max"])

    @property
    def target(self) -> Target:
        """Level of theory of the energies: pbe or pbe-d3."""
        named = self.card.get("target")
        levels: tuple[Target, ...] = get_args(Target)
        for level in levels:
            if named == level:
                return level
        raise ValueError(f"{self.source}: the card names no target ({named!r}); it must be one of {levels}")

    def subset(self, members: Sequence[int]) -> "Released":
        """The same model with only these members (counted from 1).

        Raises:
            ValueError: no such member, or none.
        """
        if not members or min(members) < 1 or max(members) > len(self.members):
            raise ValueError(f"members {list(members)}: {self.source} has the members 1 to {len(self.members)}")
        return replace(self, members=tuple(self.members[k - 1] for k in members))


def elements_of(shape: Mapping[str, Any]) -> tuple[str, ...]:
    """Chemical symbols that a model of this shape knows, in its own order."""
    return tuple(chemical_symbols[z] for z in shape["atomic_numbers"])


def scratch_shape(
    settings: Architecture, *, e0_ev: Mapping[str, float], force_rms: float, neighbours: float
) -> dict[str, Any]:
    """Arguments of a new MACE of this architecture.

    Args:
        settings: sizes of the network.
        e0_ev: reference energy of every element, eV.
        force_rms: root mean square force of the training set, eV/Angstrom: the scale of the interaction energy.
        neighbours: mean number of neighbours within the cutoff.

    Raises:
        ValueError: an element has no reference energy.
    """
    missing = [s for s in settings.elements if s not in e0_ev]
    if missing:
        raise ValueError(f"train.architecture.elements: no reference energy for {missing}; known: {sorted(e0_ev)}")
    numbers = sorted(atomic_numbers[s] for s in settings.elements)
    hidden = "+".join(f"{settings.channels}x{degree}{'eo'[degree % 2]}" for degree in range(settings.max_l + 1))
    return {
        "r_max": settings.cutoff_angstrom,
        "num_bessel": 8,
        "num_polynomial_cutoff": 5,
        "max_ell": settings.max_ell,
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticInteractionBlock",
        "num_interactions": settings.layers,
        "num_elements": len(numbers),
        "hidden_irreps": hidden,
        "MLP_irreps": "16x0e",
        "gate": "silu",
        "readout_cls": "NonLinearReadoutBlock",
        "atomic_energies": [[e0_ev[chemical_symbols[z]] for z in numbers]],
        "avg_num_neighbors": neighbours,
        "atomic_numbers": numbers,
        "correlation": settings.correlation,
        "radial_type": "bessel",
        "radial_MLP": [64, 64, 64],
        "atomic_inter_scale": [force_rms],
        "atomic_inter_shift": [0.0],
        "heads": ["Default"],
    }


def build(shape: Mapping[str, Any]) -> Any:
    """A mace.modules.ScaleShiftMACE of this shape in float64 on the CPU, with weights from torch's global generator."""
    with quiet():
        import mace  # noqa: F401  (mace must be imported before e3nn)
        import torch
        from e3nn import o3
        from mace import modules
        from mace.modules import blocks
        from mace.tools.torch_tools import default_dtype

        arguments = BASIS | {k: v for k, v in shape.items() if v is not None and k not in UNSUPPORTED}
        for key in ("interaction_cls", "interaction_cls_first", "readout_cls"):
            arguments[key] = _class(blocks, str(arguments[key]))
        for key in ("hidden_irreps", "MLP_irreps"):
            arguments[key] = o3.Irreps(arguments[key])
        if arguments["gate"] not in GATES:
            raise ValueError(f"model: activation {arguments['gate']!r} is not one of {GATES}")
        arguments["gate"] = modules.gate_dict[arguments["gate"]]
        for key in ("atomic_energies", "atomic_inter_scale", "atomic_inter_shift"):
            arguments[key] = np.asarray(arguments[key])
        with default_dtype(torch.float64):
            return modules.ScaleShiftMACE(**arguments)


def shape_of(model: Any) -> dict[str, Any]:
    """JSON form of the arguments that rebuild a ScaleShiftMACE.

    Raises:
        ValueError: another class of model, or one with several heads.
    """
    from mace.tools.scripts_utils import extract_config_mace_model

    if type(model).__name__ != "ScaleShiftMACE":
        raise ValueError(f"model: {type(model).__name__} is not a ScaleShiftMACE; only those can be used here")
    radial = getattr(getattr(model, "radial_embedding", None), "bessel_fn", None)
    if not hasattr(radial, "bessel_weights"):
        kind = type(radial).__name__
        raise ValueError(f"model: radial functions of the kind {kind}; only Bessel functions can be used here")
    try:
        found = extract_config_mace_model(model)
    except ODD as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        raise ValueError(f"model: its arguments cannot be read from the file ({reason})") from error
    if len(found["heads"]) != 1:
        raise ValueError(
            f"model: has the heads {found['heads']}; extract one with mace_select_head before using it here"
        )
    used = {
        k: v for k, v in found.items() if k not in UNSUPPORTED | {"cueq_config", "oeq_config", "use_embedding_readout"}
    }
    return {"gate": "None"} | {k: _jsonable(v) for k, v in used.items() if v is not None}  # one layer has no gate


def _jsonable(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, type):
        return value.__name__
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    if isinstance(value, str | int | float | bool | list):
        return value
    return str(value)


def _class(blocks: Any, name: str) -> Any:
    found = getattr(blocks, name, None)
    if not (isinstance(found, type) and name.endswith("Block")):
        raise ValueError(f"model: {name!r} is no building block of mace-torch; the model needs another version")
    return found


def save(
    folder: Path, *, shape: Mapping[str, Any], weights: Sequence[Mapping[str, Any]], card: Mapping[str, Any]
) -> None:
    """Write a model folder; the card goes last, so a folder with a card is whole.

    Args:
        folder: made if it does not exist; members of an older model in it are replaced.
        shape: arguments of the network, see `scratch_shape`.
        weights: one state dict per committee member.
        card: what the model is, see `Released.card`; must hold `target`.
    """
    from safetensors.torch import save as packed

    (folder / "card.yaml").unlink(missing_ok=True)
    for old in folder.glob("member-*.safetensors"):
        old.unlink()
    write_text_atomic(folder / "model.json", json.dumps(dict(shape), indent=1) + "\n")
    for number, state in enumerate(weights, start=1):
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
        write_bytes_atomic(folder / f"member-{number}.safetensors", packed(tensors))
    write_text_atomic(folder / "card.yaml", yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True, width=110))


def load(path: str | Path, *, trust_pickle: bool = False) -> Released:
    """The model in a folder, or in a `.model` file that is trusted.

    Raises:
        ValueError: nothing there, not a model, damaged, or a pickle that nobody said is trusted.
    """
    place = located(path)
    if (place / calculators.FILE).is_file():
        named, card = calculators.load(place, trusted=trust_pickle)
        return Released((named,), calculators.SHAPE, card, str(place), named)
    if place.is_dir():
        with unchanged():
            return _load_folder(place)
    if not place.exists():
        place = foundation(str(path))
    if not trust_pickle:
        raise ValueError(
            f"{place}: a .model file is a pickle and runs the code inside it when loaded; "
            "if you trust its source say so with train.trust_pickle: true or --trust-pickle"
        )
    with unchanged():
        return _load_pickle(place)


def elements_in(place: Path) -> tuple[str, ...] | None:
    """Elements that the model in a folder knows, without loading it; None for anything that is no model folder."""
    file = place / "model.json"
    if not file.is_file():
        return None
    try:
        return elements_of(json.loads(file.read_text(encoding="utf-8")))
    except (*ODD, OSError):
        return None  # damaged: loading it says how


def of_run(folder: Path) -> Released:
    """The model in the folder of a run, whose config declares an ASE calculator as trusted where there is one."""
    return load(folder, trust_pickle=True)


def foundation(name: str) -> Path:
    """The cached file of a foundation model that mace-torch knows by this name; downloaded where it is not there yet.

    Raises:
        ValueError: an unknown name, or no way to download it.
    """
    with quiet(OF_CALCULATORS):
        from mace.calculators import foundations_models

    known = [n for n in foundations_models.mace_mp_names if n]
    if name not in known:
        raise ValueError(f"{name}: no such model folder or .model file, and no foundation model: {', '.join(known)}")
    try:
        return Path(foundations_models.download_mace_mp_checkpoint(name))
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{name}: cannot be downloaded ({' '.join(str(error).split())[:120]}); give the path of the file"
        ) from error


def _load_folder(folder: Path) -> Released:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights = sorted(folder.glob("member-*.safetensors"), key=lambda p: (len(p.stem), p.stem))
    if not (folder / "model.json").exists() or not weights:
        raise ValueError(f"{folder}: not a model folder: model.json and member-*.safetensors must be in it")
    if not (folder / "card.yaml").exists():
        raise ValueError(f"{folder}: has no card.yaml: the model was not written whole; make it again")
    try:
        shape = json.loads(texts.read_text(folder / "model.json", advice=COPY))
        card = texts.parse_yaml(texts.read_text(folder / "card.yaml", advice=COPY))
        if not isinstance(shape, dict) or not isinstance(card, dict):
            raise ValueError("model.json and card.yaml must hold mappings")  # noqa: TRY004  (reported below)
        blank = build(shape)
        members = []
        for path in weights:
            member = deepcopy(blank)
            member.load_state_dict(load_file(path))
            members.append(member.eval())
    except (*ODD, OSError, SafetensorError, yaml.YAMLError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(f"{folder}: damaged model ({reason}); {COPY}") from error
    return Released(tuple(members), shape, card, str(folder))


def _load_pickle(path: Path) -> Released:
    with quiet():
        import mace  # noqa: F401
        import torch

        try:
            model = torch.load(path, map_location="cpu", weights_only=False)
        except Exception as error:  # unpickling foreign bytes can raise anything
            reason = " ".join(str(error).split())[:150]
            raise ValueError(f"{path}: not a MACE model ({type(error).__name__}: {reason})") from error
    if not hasattr(model, "atomic_energies_fn"):
        raise ValueError(f"{path}: holds a {type(model).__name__}, not a MACE model")
    try:
        shape = shape_of(model)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    weights = model.double().state_dict()
    weights[E0] = torch.atleast_2d(weights[E0])  # one row per head, which older files with one head leave out
    shape["atomic_energies"] = weights[E0].tolist()
    try:
        shape["use_reduced_cg"] = bool(shape.get("use_reduced_cg")) and _reduced(shape, weights)
        rebuilt = deepcopy(build(shape))  # every evaluator copies a model; e3nn cannot copy weights of no size
        missing, unexpected = rebuilt.load_state_dict(weights, strict=False)
        unknown = [k for k in missing if not k.endswith(ADDED)] + [k for k in unexpected if k not in DROPPED]
        differ = 0.0 if unknown else abs(_probe_energy(model) - _probe_energy(rebuilt))
    except ODD as error:
        raise _not_rebuilt(path, f"{type(error).__name__}: {error}") from error
    if unknown:
        raise _not_rebuilt(path, f"weights that do not fit: {', '.join(unknown)}")
    if not differ < SAME_ENERGY_EV:
        raise _not_rebuilt(path, f"its energy of eight atoms differs by {differ:.3g} eV from the rebuilt one's")
    return Released((rebuilt.eval(),), shape, {"name": path.stem, "origin": "user file"}, str(path))


def _not_rebuilt(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path}: this kind of MACE model cannot be rebuilt ({' '.join(reason.split())[:150]})")


def _probe_energy(model: Any) -> float:
    """Energy in eV of eight close atoms of the model's elements, to compare a file with what was rebuilt from it."""
    import torch
    from ase import Atoms
    from mace import data
    from mace.tools import AtomicNumberTable, torch_geometric
    from mace.tools.torch_tools import default_dtype

    numbers = [int(z) for z in model.atomic_numbers]
    places = 1.7 * np.indices((2, 2, 2)).reshape(3, 8).T
    places += np.random.default_rng(1).uniform(-0.3, 0.3, size=places.shape)
    atoms = Atoms(numbers=np.resize(numbers, 8), positions=places)
    with default_dtype(torch.float64):
        graph = data.AtomicData.from_config(
            data.config_from_atoms(atoms), z_table=AtomicNumberTable(numbers), cutoff=float(model.r_max)
        )
        batch = next(iter(torch_geometric.dataloader.DataLoader([graph], batch_size=1)))
        return float(model(batch.to_dict(), compute_force=False)["energy"].detach())


def _reduced(shape: Mapping[str, Any], weights: Mapping[str, Any]) -> bool:
    """Whether products have the smaller basis, which mace takes by default where cuequivariance is installed."""
    whole = build({**shape, **BASIS}).state_dict()
    return any(weights[k].shape != v.shape for k, v in whole.items() if k.endswith("weights_max"))


def with_cueq(model: Any, *, device: str) -> Any:
    """The same model on cuEquivariance kernels.

    Raises:
        ValueError: cuEquivariance is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("cuequivariance_torch") is None:
        raise ValueError("cueq: cuequivariance-torch is not installed; pip install 'facet-mlip[cueq]' or set false")
    with quiet():
        from mace.cli.convert_e3nn_cueq import run as convert
        from mace.tools.torch_tools import default_dtype

        with default_dtype(next(model.parameters()).dtype):
            return convert(model, return_model=True, device=device)


def without_cueq(model: Any) -> Any:
    """The plain model with the weights of one on cuEquivariance kernels, on the CPU."""
    with quiet():
        from mace.cli.convert_cueq_e3nn import run as convert
        from mace.tools.torch_tools import default_dtype

        with default_dtype(next(model.parameters()).dtype):
            return convert(deepcopy(model).cpu(), return_model=True, device="cpu")


def export_mace(model: Released, path: Path, *, member: int = 1) -> None:
    """Write one member as the pickled `.model` file that ASE, LAMMPS and other tools of mace-torch take."""
    if not 1 <= member <= len(model.members):
        raise ValueError(f"member {member}: {model.source} has members 1 to {len(model.members)}")
    import torch

    buffer = io.BytesIO()
    torch.save(model.members[member - 1], buffer)
    write_bytes_atomic(path, buffer.getvalue())
