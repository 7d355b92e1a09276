"""The version is one, and what people find around the code agrees with it."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from mlip import __version__

REPOSITORY = Path(__file__).parents[1]
WORKFLOW = REPOSITORY / ".github" / "workflows" / "ci.yml"


def releases():
    """Names of the sections of the changelog, newest first."""
    lines = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("## ").split(" - ")[0].strip("[]") for line in lines if line.startswith("## ")]


def targets():
    lines = (REPOSITORY / "Makefile").read_text(encoding="utf-8").splitlines()
    return {line.split(":")[0] for line in lines if "## " in line and not line.startswith(("#", "\t"))}


def test_the_installed_package_has_the_version_of_the_code():
    assert version("facet-mlip") == __version__


def test_citation_names_the_version_of_the_code():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == __version__


def test_newest_release_of_the_changelog_is_the_version_of_the_code():
    assert next(name for name in releases() if name != "Unreleased") == __version__


def commands():
    """Every command of the public workflow, with the Python versions that it is run on."""
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("command", commands())
def test_public_workflow_calls_make_targets_and_nothing_else(command):
    program, target = command.split()[:2]
    assert program == "make"
    assert target in targets()


def test_public_workflow_has_the_python_versions_of_the_package():
    package = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    assert package["requires-python"] == ">=3.11,<3.14"
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def test_hook_before_a_commit_is_make_check():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [hook["entry"] for repo in hooks for hook in repo["hooks"]] == ["make check"]
