"""Model folders that name an ASE calculator in the place of weights.

Takes and gives the name of a class, its arguments and a card; `calculator.json` and `card.yaml` of a folder. Making a
calculator runs its code, so a folder is read only where somebody says that it is trusted.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ase.data import chemical_symbols

from mlip.core import texts
from mlip.core.files import write_text_atomic
from mlip.potential.backends.ase_calculator import Named

FILE = "calculator.json"
COPY = "copy or make it again"
GRAPH_ANGSTROM = 6.0  # of graphs for a calculator, which makes neighbour lists of its own: twice this is empty space
SHAPE = {"atomic_numbers": list(range(1, len(chemical_symbols))), "r_max": GRAPH_ANGSTROM}  # which elements: not known


def save(folder: Path, named: Named, card: Mapping[str, Any]) -> None:
    """Write a model folder with a calculator; the card goes last, so a folder with a card is whole."""
    (folder / "card.yaml").unlink(missing_ok=True)
    data = {"name": named.name, "arguments": dict(named.arguments)}
    write_text_atomic(folder / FILE, json.dumps(data, indent=1) + "\n")
    write_text_atomic(folder / "card.yaml", yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True, width=110))


def load(folder: Path, *, trusted: bool) -> tuple[Named, dict[str, Any]]:
    """Name, arguments and card in a folder; nothing is imported yet.

    Raises:
        ValueError: nobody says that the folder is trusted, or damage.
    """
    if not trusted:
        raise ValueError(
            f"{folder}: names an ASE calculator, and making one runs its code; if you trust the folder say so with "
            "--trust-pickle or trust_pickle=True"
        )
    try:
        data = json.loads(texts.read_text(folder / FILE, advice=COPY))
        card = texts.parse_yaml(texts.read_text(folder / "card.yaml", advice=COPY))
        return Named(str(data["name"]), dict(data["arguments"])), dict(card)
    except (KeyError, TypeError, ValueError, OSError, yaml.YAMLError) as error:
        raise ValueError(f"{folder}: damaged model ({' '.join(str(error).split())[:200]}); {COPY}") from error
