"""Every command of README, CONTRIBUTING and docs is taken as it stands, names files that exist, and runs where light."""

import argparse
import importlib.util
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers import tiny
from helpers.pages import OTHERS, PAGES, blocks, inline, named

from mlip import cli, pipeline
from mlip.atoms import extxyz
from mlip.core import files

OWN = re.compile(r"FRAMES|CANDIDATES|INITIAL|FINAL|FILE\b|OUT\b|RUN\b|SYSTEM")  # files of the reader
MADE_BY = {"runs/quick": "README.md", "runs/label": "docs/labelling.md"}  # runs of one page that others go on with
PROGRAMS = {"mlip", "make", "source", "ls", "GPAW_CONFIG=$PWD/configs/hpc/gpaw.siteconfig"}
LAST = 10**6  # after every block
READ = {"run", "source", "model", "frames", "initial", "final", "sources", "config", "start", "level"}
MAKEFILE = (tiny.REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = {*re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE), *pipeline.STAGES}


def lines(text):
    """Commands of the text of a block, each as a list of words, without comments."""
    if "-->" in text:  # the drawing of the pipeline
        return []
    return [words for line in re.sub(r"\\\n\s*", "", text).split("\n") if (words := shlex.split(line, comments=True))]


COMMANDS = [  # page, number of the block on it, words
    (named(page), number, words)
    for page in (*PAGES, *OTHERS)
    for number, (kind, text) in enumerate(blocks(page))
    if kind in {"", "bash", "console"}
    for words in lines(text)
]


def shown(one):
    return " ".join(one) if isinstance(one, list) else str(one)


def of(program):
    """The commands of one program, as parameters of a test."""
    found = [one for one in COMMANDS if one[2][0] == program]
    return pytest.mark.parametrize(("page", "number", "words"), found, ids=shown)


def parsed(words):
    return vars(cli.parser().parse_args(words[1:]))


def paths(options, keys):
    """Paths among the values of some options."""
    given = [
        one for key, value in options.items() if key in keys for one in (value if isinstance(value, list) else [value])
    ]
    return [one for one in given if isinstance(one, Path)]


def made_by(words):
    """What a command makes: its output, a run, or nothing."""
    if words[:2] == ["make", "run"]:
        return {"runs/quick"}
    if words[0] != "mlip":
        return set()
    try:
        options = parsed(words)
    except SystemExit:
        return set()  # another test tells
    return {
        str(p) for p in paths(options, {"out", "run"} if words[1] in {"init", "run", "learn", "submit"} else {"out"})
    }


def made_on(page, until):
    """Files and folders that the blocks of a page up to a number make: captions, names in Python, outputs and runs."""
    made = set()
    for kind, text in blocks(tiny.REPOSITORY / page)[: until + 1]:
        made |= set(re.findall(r"^:caption: (\S+)$", text, re.MULTILINE))
        made |= set(re.findall(r"[\"']([\w./-]+)[\"']", text)) if kind == "python" else set()
    for on, number, words in COMMANDS:
        if on == page and number <= until:
            made |= made_by(words)
    return made


def is_there(path, made):
    """Whether a path is in the repository, is the reader's, or is made by a block (or lies in what is made)."""
    known = {*made, *MADE_BY}
    return (
        bool(OWN.search(str(path)))
        or (tiny.REPOSITORY / path).exists()
        or any(str(one) in known for one in (path, *path.parents))
    )


def test_a_file_that_nothing_makes_is_noticed():
    assert is_there(Path("configs/quick.yaml"), set())
    assert is_there(Path("runs/quick/train/model"), set())
    assert is_there(Path("hop/path.extxyz"), {"hop"})
    assert not is_there(Path("configs/none.yaml"), {"hop"})
    assert lines("a \\\n  b c  # d\n\n# e\nf") == [["a", "b", "c"], ["f"]]


def test_every_command_is_of_a_program_that_is_tested_here():
    others = {f"{page}: {words[0]}" for page, _, words in COMMANDS if words[0] not in PROGRAMS}
    assert not others
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("folder", "page"), MADE_BY.items())
def test_runs_that_several_pages_use_are_made_on_one(folder, page):
    assert folder in made_on(page, LAST)


@of("mlip")
def test_commands_are_taken_and_read_what_exists(page, number, words, capsys):
    try:
        options = parsed(words)
    except SystemExit:
        pytest.fail(f"{page}: {shlex.join(words)}: {capsys.readouterr().err}")
    read = READ - {"run"} if words[1] in {"init", "run", "learn", "submit"} else READ
    made = made_on(page, number)
    for path in paths(options, read):
        assert is_there(path, made), f"{page}: {path} is neither in the repository nor made by an earlier block"


@of("make")
def test_make_takes_its_targets(page, number, words):
    variables = re.findall(r"^([A-Z_]+)\s*[?:]?=", MAKEFILE, re.MULTILINE)
    for word in words[1:]:
        assert word in TARGETS or word.split("=")[0] in {*variables, "PAGES", "ONLY"}, f"{page}: {word}"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--dry-run", *words[1:]], cwd=tiny.REPOSITORY, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


INLINE = [(named(page), code) for page in (*PAGES, *OTHERS) for code in inline(page, "mlip ", "make ")]


def test_commands_inside_sentences_have_names_that_exist():
    (group,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    known = {*group.choices, "--help", "--version", "--debug", "count"}  # `count`: the stage that CONTRIBUTING adds
    unknown = {f"{page}: {code}" for page, code in INLINE if code.split()[1] not in {*known, *TARGETS}}
    unknown |= {f"{page}: {code}" for page, code in INLINE if code.startswith("mlip") and code.split()[1] not in known}
    assert not unknown
    assert len(INLINE) > 80


# --- light commands, run as they stand


@pytest.fixture
def clone(tmp_path, monkeypatch, labelled):
    """A folder with the configs and data of the repository and two frames of a reader; commands run in it."""
    for name in ("configs", "datasets"):
        (tmp_path / name).symlink_to(tiny.REPOSITORY / name)
    frames = [labelled["001_11_Li_site"], labelled["001_11_clean_relaxed"]]
    files.write_frames(tmp_path / "FRAMES.extxyz", frames)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_configs_that_are_named_begin_a_run(clone, capsys):
    """What `run` and `learn` do first, and all that `init` does."""
    begun = {
        (words[-2], words[-1])
        for _, _, words in COMMANDS
        if len(words) > 2 and words[-2].startswith("configs/") and words[-2].endswith(".yaml")
    }
    assert len(begun) >= 4
    for given, run in sorted(begun):
        assert cli.main(["init", given, run]) == 0, capsys.readouterr().err
        assert (clone / run / "config.yaml").exists()


def test_commands_that_only_print(clone, capsys):
    for words in (c[2] for c in COMMANDS if c[2][:2] == ["mlip", "settings"]):
        assert cli.main(words[1:]) == 0
        assert f"{words[2]}.images: whole number, at least 3 = 5" in capsys.readouterr().out
    for words in (["--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 0


def test_the_estimate_of_labels(clone, capsys):
    """Without GPAW the command says how GPAW is installed."""
    installed = importlib.util.find_spec("gpaw") is not None
    assert cli.main(["init", "configs/label.yaml", "runs/label"]) == 0
    for words in (c[2] for c in COMMANDS if c[2][-1] == "--check"):
        assert cli.main(words[1:]) == (0 if installed else 1)
        assert ("core-hours" if installed else "make setup-dft installs it") in "".join(capsys.readouterr())


def test_prediction_of_the_readme(clone, capsys):
    (words,) = [w for page, _, w in COMMANDS if page == "README.md" and w[:2] == ["mlip", "predict"]]
    assert cli.main(words[1:]) == 0
    assert "2 frames with mlip_energy and mlip_forces" in capsys.readouterr().out
    first, second = extxyz.read_frames(clone / "OUT.extxyz")
    assert abs(first.info["mlip_energy"] - first.info["dft_energy"]) < 0.1
    assert second.arrays["mlip_forces"].shape == (12, 3)
