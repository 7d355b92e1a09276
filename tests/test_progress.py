"""What is printed is printed as it is, whatever rich would make of it."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import tiny

import mlip
from mlip import cli, driver
from mlip.core import progress
from mlip.potential import equivalence
from mlip.potential.backends.symmetrix import Symmetrix
from mlip.stages.report import stage
from mlip.stages.sites import backends

ODD = ("pip install 'facet-mlip[native]'", "a[0].xyz", "[/]", "[bold]x[/bold]", "[link=x]", ":fire:", r"\[a]", "x{0}")


@pytest.fixture
def shown(monkeypatch):
    """What the console was given, as a wide terminal shows it."""
    out = io.StringIO()
    monkeypatch.setattr(progress.console, "_file", out)  # `file` would be put back as the stderr of this test
    monkeypatch.setattr(progress.console, "_width", 200)
    return out


@pytest.mark.parametrize("text", ODD)
def test_a_line_is_printed_as_it_is(shown, text):
    progress.console.print(f"  {text}", soft_wrap=True)
    assert shown.getvalue() == f"  {text}\n"


@pytest.mark.parametrize("text", [*ODD, "{x}", "{task.total:d}"])
def test_a_label_of_a_bar_is_shown_as_it_is(shown, text):
    with progress.progress(text, 3) as tick:
        tick(1)
    with progress.estimate(text) as tell:
        tell(1, 3, 60.0)
    assert shown.getvalue().count(text) == 2


@pytest.mark.parametrize("text", ODD)
def test_a_note_of_molecular_dynamics_is_shown_as_it_is(shown, text):
    with progress.bar(progress.literal("{task.fields[note]}")) as bar:
        bar.add_task("md", total=1.0, note=text)
    assert text in shown.getvalue()


@pytest.mark.parametrize("text", ODD)
def test_cells_of_the_table_of_barriers(shown, monkeypatch, text):
    monkeypatch.setattr(stage, "headline_lines", lambda _: [["hop", text], ["1", f"<{text}>"]])
    stage.show(SimpleNamespace(folder=Path("run[1]", "report")), SimpleNamespace(headline=()))
    assert shown.getvalue().count(text) == 2
    assert f"<{text}>" in shown.getvalue()
    assert "run[1]/report/report.html" in shown.getvalue()


def test_why_a_backend_is_not_used_keeps_its_advice(shown, monkeypatch, tmp_path):
    """The whole way from the error of the backend to the terminal."""
    monkeypatch.setattr("mlip.potential.backends.compiled.version", lambda: None)
    with pytest.raises(ValueError, match="symmetrix-xl is not installed") as told:
        Symmetrix(None, device="cpu", dtype="float64", folder=tmp_path)
    missing = equivalence.Equivalence(
        backend=equivalence.Backend(name="symmetrix-xl", device="cpu", dtype="float64"),
        structures=1,
        energy_ev=None,
        force_ev_per_angstrom=None,
        accepted=False,
        note=str(told.value),
    )
    monkeypatch.setattr(backends, "run_parallel", lambda *_, **__: [(missing,)])
    run = driver.opened(init(tmp_path))
    backends.checked(run.context(run.stage("sites")))
    assert "not used: symmetrix-xl is not installed" in shown.getvalue()
    assert "pip install symmetrix-xl==" in shown.getvalue()


def init(folder):
    """The folder of a run that was made and has done nothing."""
    assert cli.main(["init", str(tiny.write_config(folder / "c.yaml")), str(folder / "run[2]")]) == 0
    return folder / "run[2]"


def test_an_error_with_brackets_in_its_path(tmp_path, capsys):
    path = tmp_path / "a[bold].yaml"
    assert cli.main(["init", str(path), str(tmp_path / "run")]) == 1
    assert f"mlip init: {path}: cannot be read" in capsys.readouterr().err


def test_no_module_prints_past_the_seam():
    """Consoles and columns of text are made in mlip/core/progress.py only, where they are set to print what they get."""
    package, seam = Path(mlip.__file__).parent, Path(progress.__file__)
    others = [path for path in package.rglob("*.py") if path != seam]
    assert {"core", "stages", "tools", "learn"} <= {path.relative_to(package).parts[0] for path in others}
    for path in others:
        text = path.read_text(encoding="utf-8")
        for word in ("Console(", "TextColumn(", "rich.print", "from rich import print", "from_markup"):
            assert word not in text, f"{path.relative_to(package)}: {word}"
