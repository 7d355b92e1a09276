import json
import logging
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from helpers import tiny

from mlip.core import process
from mlip.potential.backends import compiled

SNAPSHOT = """
import ctypes, json, locale, logging, os, random, signal, sys, warnings
import numpy as np
import torch
from ase.build import bulk

sys.path.insert(0, {tests!r})
from helpers import tiny
import mlip.potential.potential  # what importing our own modules needs is not what loading a model does

def snapshot():
    return {{
        "environment": dict(os.environ),
        "filters": [str(f) for f in warnings.filters],
        "logging": [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        "random": [hash(random.getstate()), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()],
        "torch": [str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled()],
        "numpy": np.geterr(),
        "process": [os.getcwd(), sorted(os.sched_getaffinity(0)), locale.setlocale(locale.LC_ALL)],
        "signals": [str(signal.getsignal(s)) for s in sorted(signal.valid_signals()) if s not in (9, 19)],
    }}

from mlip.core import process
process.own = None  # whoever calls malloc's settings in the process of a user fails
before = snapshot()
from mlip.potential import models
from mlip.potential import potential
from pathlib import Path
model = models.load({model!r}).subset([1])
evaluator = potential.Evaluator(model, backend={backend!r}, folder=Path({folder!r}))
evaluator([tiny.rattled()])
after = snapshot()
print(json.dumps([[name, before[name], after[name]] for name in before if before[name] != after[name]]))
"""


@pytest.mark.parametrize("backend", ["mace-torch", "mace-scalar", "symmetrix-xl"])
def test_loading_and_using_a_model_changes_nothing_in_the_process(committee, tmp_path, backend):
    if backend == "symmetrix-xl" and compiled.version() is None:
        pytest.skip("no symmetrix-xl here")
    tests = str(tiny.REPOSITORY / "tests")
    # symmetrix-xl takes no model of correlation 2, such as the tiny one
    model = tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li" if backend == "symmetrix-xl" else committee
    code = SNAPSHOT.format(tests=tests, model=str(model), backend=backend, folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], env=tiny.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_a_quiet_block_gives_the_environment_and_the_filters_back(monkeypatch, capsys):
    monkeypatch.setenv("KEPT", "before")
    filters = list(warnings.filters)
    with process.quiet():
        os.environ["KEPT"] = "inside"
        os.environ["NEW"] = "inside"
        warnings.simplefilter("ignore")
        sys.stdout.write("said inside")
    assert os.environ["KEPT"] == "before"
    assert "NEW" not in os.environ
    assert warnings.filters == filters
    assert capsys.readouterr().out == ""


def test_variables_of_a_block_end_with_it_and_give_way_to_those_of_the_user(monkeypatch):
    monkeypatch.setenv("OURS", "theirs")
    with process.unchanged(OURS="ours", OTHER="ours"):
        assert (os.environ["OURS"], os.environ["OTHER"]) == ("theirs", "ours")
    assert os.environ["OURS"] == "theirs"
    assert "OTHER" not in os.environ


def disturb():
    """What libraries do when they are imported or asked, and then an error."""
    import torch

    torch.rand(3)
    np.random.rand(3)  # noqa: NPY002
    logging.root.setLevel(logging.DEBUG)
    torch.set_default_dtype(torch.float64)
    raise RuntimeError("inside")


def test_an_error_inside_gives_everything_back_too():
    import torch

    drawn, kept, level = torch.get_rng_state(), np.random.get_state()[1].copy(), logging.root.level  # noqa: NPY002
    with pytest.raises(RuntimeError, match="inside"), process.unchanged(OTHER="x"):
        disturb()
    assert torch.equal(torch.get_rng_state(), drawn)
    assert (np.random.get_state()[1] == kept).all()  # noqa: NPY002
    assert logging.root.level == level
    assert torch.get_default_dtype() == torch.float32
    assert "OTHER" not in os.environ
