"""A dataset that declares one barrier of Li on anatase (001) as relaxed with DFT."""

import numpy as np
import yaml
from ase import Atoms

from helpers import tiny
from mlip.atoms import extxyz, structures
from mlip.atoms.structures import Facet
from mlip.core import files

FACET = Facet(name="001", miller=(0, 0, 1), layers=2, repeat=(2, 1))


def dataset(folder, *, hop, height_ev, final_ev=None, d3_ev=-0.01, std_ev=0.002, **settings):
    """The folder, with frames of the slab of `tiny`; `settings` change the level of theory on its card."""
    frames = []
    heights = {"a": 0.0, "b": height_ev} | ({} if final_ev is None else {"c": final_ev})
    for name, height in heights.items():
        frame = structures.slab(structures.crystal("anatase"), FACET, bond_angstrom=2.35) + Atoms(
            "Li", positions=[[0, 0, 0]]
        )
        info = {"frame_id": name, "group": f"ladder_{hop}_Li", "host": "001", "ion": "Li"}
        made = extxyz.with_labels(frame, energy_ev=height - 10, forces=np.zeros((len(frame), 3)), info=info)
        made.info["d3_energy"] = d3_ev if height else 0.0
        frames.append(made)
    files.write_frames(folder / "frames.extxyz", frames)
    card = yaml.safe_load((tiny.DATA / "card.yaml").read_text(encoding="utf-8"))
    path = {"group": f"ladder_{hop}_Li", "host": "001", "ion": "Li", "hop": hop, "initial": "a", "saddle": "b"}
    path |= {"geometry": "relaxed with DFT", "note": "", "refined": True, "calls": 4}
    path |= {"force_ev_per_angstrom": 0.04, "std_ev": std_ev, "final": None if final_ev is None else "c"}
    card |= {"name": "declaring", "paths": [path], "settings": card["settings"] | settings}
    card |= {"settings_hash": extxyz.settings_hash(card["settings"])}
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
    return folder
