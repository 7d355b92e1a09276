import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers import tiny

from mlip import config, driver
from mlip.core import files, run
from mlip.core.run import Run, locked
from mlip.stages.train.settings import TrainSettings
from mlip.stages.train.stage import elements_to_be

NAMES = tuple(stage.name for stage in config.stages())


def make(tmp_path, **changes):
    return driver.init(tiny.write_config(tmp_path / "c.yaml", **changes), tmp_path / "run")


def opened(path):
    return Run(path.parent, config.load(path), config.stages())


def fingerprint(r, name):
    return r.fingerprint(r.stage(name))


def is_done(r, name):
    return r.is_done(r.stage(name))


def prepare(r, name):
    return r.prepare(r.stage(name))


def finish(r, stage):
    """What the stages do around their work, with a small result."""
    declared = r.stage(stage)
    r.prepare(declared)
    made = files.provenance(stage, settings=r.settings(declared), inputs=r.inputs(declared), started=time.time())
    made = replace(made, fingerprint=r.fingerprint(declared))
    files.write_result(r.path(stage, "result.json"), made, made)


def stale(before, after):
    return {name for name in NAMES if fingerprint(before, name) != fingerprint(after, name)}


SITES = {
    "sites",
    "neb",
    "modes",
    "energetics",
    "electronic",
    "refine",
    "md",
    "diffusion",
    "rates",
    "report",
}  # all that depend on the sites
LABELS = SITES | {"dataset", "train", "evaluate"}  # all that depend on the labels


def test_stages_come_after_what_they_need():
    before = set()
    for stage in config.stages():
        assert {other.name for other in (*stage.needs, *stage.uses, *stage.settings_of)} <= before
        before.add(stage.name)
    assert before == set(config.sections()) - {"common", *config.SHARED}


def test_fingerprints_repeat_in_another_process(tmp_path):
    r = make(tmp_path)
    code = "import sys; from pathlib import Path; from mlip import driver; r = driver.opened(Path(sys.argv[1]))\n"
    code += "print({s.name: r.fingerprint(s) for s in r.stages})"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    env = tiny.environment(PYTHONHASHSEED="7")
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert out.stdout.strip() == str({s.name: r.fingerprint(s) for s in r.stages})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"neb": {"images": 5}}, {"neb", "refine", "modes", "diffusion", "rates", "report"}),
        ({"report": {"agree_ev": 0.04}}, {"report"}),
        ({"sites": {"max_candidates": 3}}, SITES),
        ({"evaluate": {"first_shell_angstrom": 2.5}}, {"evaluate", "rates", "report"}),
        ({"train": {"epochs": 4}}, SITES | {"train", "evaluate"}),
        ({"structures": {"ions": ["Mg"]}}, SITES | {"structures", "evaluate"}),
        ({"dataset": {"test_groups": ["bulk1_Mg_hop"]}}, LABELS | {"convergence"}),
        ({"common": {"workers": 3}}, set()),
        ({"common": {"gpus": 3}}, set()),
        ({"tracking": {"mode": "offline"}}, set()),
        ({"common": {"target": "pbe-d3"}}, LABELS),
        ({"common": {"dtype": "float32"}}, SITES),
        ({"dft": {"settings": {"cutoff_ev": 600.0}}}, {"label", "convergence", "energetics", "electronic", "refine"}),
        ({"md": {"run": True}}, set()),
        ({"common": {"seed": 9}}, LABELS),
    ],
    ids=lambda x: "-".join(f"{s}.{k}" for s, keys in x.items() for k in keys) if isinstance(x, dict) else "",
)
def test_an_edit_makes_stale_what_depends_on_it(tmp_path, changes, expected):
    before = opened(tiny.write_config(tmp_path / "a.yaml"))
    after = opened(tiny.write_config(tmp_path / "b.yaml", **changes))
    assert stale(before, after) == expected


def test_comments_and_order_in_the_file_do_not_matter(tmp_path):
    before = make(tmp_path)
    settings = tiny.run_settings()
    backwards = {k: settings[k] for k in reversed(settings)}
    text = "# another comment\n" + yaml.safe_dump(backwards, sort_keys=False)
    (tmp_path / "other.yaml").write_text(text)
    assert stale(before, driver.init(tmp_path / "other.yaml", tmp_path / "run")) == set()


def test_contents_of_inputs_count_and_not_their_time(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tiny.DATA, data)
    before = make(tmp_path, dataset={"path": str(data)})
    (data / "frames.extxyz").touch()
    assert stale(before, make(tmp_path, dataset={"path": str(data)})) == set()
    text = (data / "card.yaml").read_text()
    (data / "card.yaml").write_text(text + "\n")
    assert stale(before, make(tmp_path, dataset={"path": str(data)})) == LABELS


def test_another_base_model_under_the_same_name(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_text("1")
    before = make(tmp_path, train={"base": str(tmp_path / "base")})
    (tmp_path / "base" / "weights").write_text("2")
    assert stale(before, make(tmp_path, train={"base": str(tmp_path / "base")})) == SITES | {"train", "evaluate"}


def test_done_only_with_a_whole_result_of_these_settings(tmp_path):
    r = make(tmp_path)
    assert not is_done(r, "structures")
    finish(r, "structures")
    assert is_done(r, "structures")
    assert not is_done(make(tmp_path, structures={"ions": ["Mg"]}), "structures")
    r.path("structures", "result.json").write_text("{")
    with pytest.raises(ValueError, match=r"result\.json: not readable as JSON .*delete it and run the stage again"):
        is_done(make(tmp_path), "structures")


def test_editing_and_editing_back_restores_the_results(tmp_path):
    first = make(tmp_path)
    finish(first, "neb")
    first.path("neb", "band").write_text("first")
    second = make(tmp_path, neb={"images": 4})
    assert not is_done(second, "neb")
    prepare(second, "neb")
    assert not second.path("neb", "band").exists()
    assert [p.name for p in (tmp_path / "run" / "superseded").iterdir()] == [f"neb-{fingerprint(first, 'neb')[:12]}"]
    second.path("neb", "band").write_text("half of the second")
    third = make(tmp_path)
    prepare(third, "neb")
    assert is_done(third, "neb")
    assert third.path("neb", "band").read_text() == "first"
    again = make(tmp_path, neb={"images": 4})
    prepare(again, "neb")
    assert again.path("neb", "band").read_text() == "half of the second"
    assert not is_done(again, "neb")


def test_prepare_keeps_work_with_the_same_settings(tmp_path):
    r = make(tmp_path)
    prepare(r, "neb")
    r.path("neb", "band").write_text("begun")
    prepare(make(tmp_path, report={"agree_ev": 0.01}), "neb")
    assert r.path("neb", "band").read_text() == "begun"


def test_folder_of_unknown_origin_is_put_aside(tmp_path):
    r = make(tmp_path)
    r.path("neb").mkdir()
    r.path("neb", "mine").write_text("precious")
    prepare(r, "neb")
    assert not r.path("neb", "mine").exists()
    assert (tmp_path / "run" / "superseded" / "neb-unknown" / "mine").read_text() == "precious"


def test_second_process_in_one_run_is_refused(tmp_path):
    make(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from mlip.core.run import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, env=tiny.environment(), stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            with (
                pytest.raises(ValueError, match="another process works in this run; wait for it or stop it"),
                locked(tmp_path / "run"),
            ):
                pass
            before = (tmp_path / "run" / "config.yaml").read_text()
            with pytest.raises(ValueError, match="another process works in this run"):
                make(tmp_path, neb={"images": 4})
            assert (tmp_path / "run" / "config.yaml").read_text() == before
        finally:
            other.kill()
    with locked(tmp_path / "run"):
        pass


def test_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        pass


def test_init_checks_everything_before_it_writes(tmp_path):
    for changes, message in (
        ({"dataset": {"path": "no/such/data"}}, "no/such/data: no such file or folder"),
        ({"train": {"base": "no/such/base"}}, "no/such/base: no such"),
        ({"literature": {"references": "no/such/references"}}, "no/such/references: no such file or folder"),
        ({"structures": {"crystal": "no_such.cif"}}, r"no_such\.cif: no such file or folder"),
        ({"neb": {"imges": 3}}, r"neb\.imges: unknown key"),
    ):
        with pytest.raises(ValueError, match=message):
            make(tmp_path, **changes)
        assert not (tmp_path / "run").exists()


def test_a_whole_run_that_holds_nothing_out_is_refused_before_its_training(tmp_path):
    run = make(tmp_path, dataset={"test_groups": []})  # single stages and `mlip learn` may
    with pytest.raises(ValueError, match=r"dataset\.test_groups: no group is held out.* name at least one before"):
        driver.run_all(run.folder)
    assert not (run.folder / "structures").exists()
    driver.require_whole(opened(tiny.write_config(tmp_path / "d.yaml", dataset={"path": None, "test_groups": []})))
    driver.require_whole(opened(tiny.write_config(tmp_path / "e.yaml")))


@pytest.mark.parametrize(
    ("train", "known"),
    [
        ({"base": None}, r"\['Li', 'Mg', 'O', 'Ti'\]"),
        ({"base": "datasets/models/base"}, r"\['Li', 'Mg', 'O', 'Ti'\]"),
        ({"base": None, "architecture": {"elements": ["Na", "O"]}}, r"\['Na', 'O'\]"),
    ],
)
def test_an_ion_that_the_potential_will_not_know_is_refused_before_the_training(tmp_path, train, known):
    config = tiny.write_config(tmp_path / "c.yaml", train=train, structures={"ions": ["Na"]})
    missing = r"\['Ti'\]" if "architecture" in train else r"\['Na'\]"
    run = driver.init(config, tmp_path / "run")  # `mlip label` on this config may be what makes the labels
    with pytest.raises(
        ValueError, match=rf"structures: the crystal and ions need {missing}, the potential knows {known}"
    ):
        driver.require_whole(run)
    with pytest.raises(ValueError, match=r"or change structures\.ions"):
        driver.run_all(run.folder)
    assert not (run.folder / "structures").exists()


def test_elements_are_known_before_a_model_is_loaded(tmp_path):
    assert sorted(elements_to_be(TrainSettings(model="datasets/models/tio2-mg-li")) or ()) == ["Li", "Mg", "O", "Ti"]
    assert elements_to_be(TrainSettings(calculator={"name": "ase.calculators.emt:EMT", "trusted": True})) is None
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{")
    assert elements_to_be(TrainSettings(model=str(tmp_path / "m"))) is None  # loading it says what is wrong


def test_a_bad_edit_leaves_the_run_as_it_was(tmp_path):
    make(tmp_path)
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(ValueError, match="unknown key"):
        make(tmp_path, neb={"imges": 3})
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(ValueError, match=r"not a run folder \(no config\.yaml\); make one with: mlip init"):
        driver.opened(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="cannot be written"):
        driver.init(tiny.write_config(tmp_path / "c.yaml"), tmp_path / "file" / "run")
    with pytest.raises(ValueError, match="cannot be written"), locked(tmp_path / "none"):
        pass


def test_paths_are_from_here_or_from_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.place("datasets/tio2-mg-li") == tiny.DATA
    (tmp_path / "datasets" / "tio2-mg-li").mkdir(parents=True)
    assert files.place("datasets/tio2-mg-li").resolve() == tmp_path / "datasets" / "tio2-mg-li"
    assert files.place("datasets/models/base") == tiny.REPOSITORY / "datasets" / "models" / "base"
    assert str(files.located("datasets/none")) == "datasets/none"
    with pytest.raises(ValueError, match="datasets/none: no such file or folder, neither here nor among those that"):
        files.place("datasets/none")


def test_the_files_of_an_installed_package_have_the_names_they_have_in_the_repository(monkeypatch):
    package = Path("/venv/site-packages/mlip")
    monkeypatch.setattr(run, "PACKAGE", package)
    monkeypatch.setattr(run, "ROOT", package / "shipped")
    assert run._name(package / "shipped" / "datasets" / "tio2-mg-li") == "datasets/tio2-mg-li"
    assert run._name(package) == "mlip"
    assert run._name(Path("/data/frames")) == "/data/frames"


def test_an_installed_package_has_no_commit_of_a_repository_around_it(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    assert files.commit() == "unknown"


def test_changed_code_makes_the_report_anew_and_keeps_the_numbers(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    (package / "report.html.j2").write_text("a")
    first = files.sha256(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "report.cpython-311.pyc").write_bytes(b"1")
    assert files.sha256(package) == first
    (package / "report.html.j2").write_text("b")
    assert files.sha256(package) != first
    before = make(tmp_path)
    fingerprint(before, "report")
    monkeypatch.setattr(run, "sha256", lambda path: "other" if path == files.PACKAGE else files.sha256(path))
    assert stale(before, make(tmp_path)) == {"report"}


def test_an_optional_stage_takes_part_when_asked_and_is_shown_when_done(tmp_path):
    r = make(tmp_path)
    planned = {stage.name for stage in r.planned()}
    assert planned == {stage.name for stage in r.stages if not stage.is_optional}
    asked = make(tmp_path, md={"run": True})
    assert {stage.name for stage in asked.planned()} - planned == {"md"}
    before = fingerprint(r, "report")
    finish(r, "convergence")
    again = make(tmp_path)
    assert "convergence" in {stage.name for stage in again.upstream(again.stage("report"))}
    assert fingerprint(again, "report") != before


def changed(path):
    """Change one byte of a file, its length and name kept."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["x.cif", "X.CIF", "x.Cif", "POSCAR", "x.vasp", "crystal"])
def test_a_crystal_counts_whatever_its_name_ends_in(tmp_path, name):
    (tmp_path / name).write_text("data_x\n_cell_length_a 3.8\n")
    before = make(tmp_path, structures={"crystal": str(tmp_path / name)})
    changed(tmp_path / name)
    after = make(tmp_path, structures={"crystal": str(tmp_path / name)})
    assert stale(before, after) == SITES | {"structures", "evaluate"}


def test_a_crystal_that_is_neither_built_in_nor_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"rutile: no such file .*built-in crystals of structures\.crystal: anatase"):
        make(tmp_path, structures={"crystal": "rutile"})


@pytest.mark.parametrize("number", [0, 1, 2])
def test_files_of_one_name_in_several_folders_all_count(tmp_path, number):
    named = [tmp_path / letter / "labels" / "frames.xyz" for letter in "abc"]
    for k, path in enumerate(named):
        path.parent.mkdir(parents=True)
        path.write_text(f"frames {k}")
    listed = {"label": {"frames": [str(p) for p in named]}}
    before = make(tmp_path, **listed)
    assert len(before.inputs(before.stage("label"))) == 3
    changed(named[number])
    assert stale(before, make(tmp_path, **listed)) == {"label"}


def test_files_that_trade_places_count(tmp_path):
    named = [tmp_path / letter / "frames.xyz" for letter in ("a", "b")]
    named += [tmp_path / "c" / letter / "frames.xyz" for letter in ("a", "b")]
    for k, path in enumerate(named):
        path.parent.mkdir(parents=True)
        path.write_text(f"frames {k}")
    listed = {"label": {"frames": [str(p) for p in named]}}
    before = make(tmp_path, **listed)
    named[0].write_text("frames 2")
    named[2].write_text("frames 0")
    assert stale(before, make(tmp_path, **listed)) == {"label"}


@pytest.mark.parametrize("name", ["dataset", "other"])
def test_a_base_model_of_the_name_of_a_stage_hides_nothing(tmp_path, name):
    """The labels and the base model both make a training stale, also where the folder is called `dataset`."""
    data, base = tmp_path / "data", tmp_path / name
    shutil.copytree(tiny.DATA, data)
    base.mkdir()
    (base / "weights").write_text("1")
    changes = {"train": {"base": str(base)}, "dataset": {"path": str(data)}}
    before = make(tmp_path, **changes)
    assert len(before.inputs(before.stage("train"))) == 2
    with (data / "card.yaml").open("a") as card:
        card.write("\n")
    other = make(tmp_path, **changes)
    assert stale(before, other) == LABELS
    (base / "weights").write_text("2")
    assert stale(other, make(tmp_path, **changes)) == SITES | {"train", "evaluate"}


def test_references_of_the_name_of_the_package_hide_no_code(tmp_path, monkeypatch):
    shutil.copytree(tiny.REPOSITORY / "datasets" / "references", tmp_path / "mlip")
    before = make(tmp_path, literature={"references": str(tmp_path / "mlip")})
    fingerprint(before, "report")
    changed(next((tmp_path / "mlip").glob("*.yaml")))
    after = make(tmp_path, literature={"references": str(tmp_path / "mlip")})
    assert stale(before, after) == {"rates", "report"}  # a claim about rates is a reference
    ours = files.PACKAGE
    monkeypatch.setattr(run, "sha256", lambda path: "other" if path == ours else files.sha256(path))
    assert stale(after, make(tmp_path, literature={"references": str(tmp_path / "mlip")})) == {"report"}


def test_a_config_with_a_byte_order_mark_is_copied_without(tmp_path):
    path = tiny.write_config(tmp_path / "c.yaml")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    first = driver.init(path, tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_bytes()[:1] != b"\xef"
    assert stale(first, make(tmp_path)) == set()
