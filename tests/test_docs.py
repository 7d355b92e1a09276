"""The documentation agrees with the code: configs, columns, statuses, public names; links go to pages."""

import ast
import fnmatch
import importlib
import inspect
import re
import sys

import pytest
import yaml
from helpers import tiny
from helpers.pages import DOCS, OTHERS, PAGES, fences, named

import mlip
from mlip import config, pipeline

sys.path.insert(0, str(tiny.REPOSITORY / "docs"))
import generated

CONFIGS = [(named(page), text) for page in (*PAGES, *OTHERS) for text in fences(page, "yaml", "{code-block} yaml")]


@pytest.mark.parametrize(("page", "text"), CONFIGS)
def test_configs_validate(page, text, tmp_path):
    text = re.sub(r"\A:caption: .*\n+", "", text)
    if not set(yaml.safe_load(text)) <= set(config.sections()):
        pytest.skip("no config")
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    assert config.load(tmp_path / "c.yaml"), page


def modules():
    """Every module of the package with its syntax tree."""
    for path in sorted((tiny.REPOSITORY / "mlip").rglob("*.py")):
        parts = path.relative_to(tiny.REPOSITORY).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), ast.parse(path.read_text(encoding="utf-8"))


def calls(tree, name):
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == name and n.args]


def pattern(heading, names):
    """A heading as a regular expression: what is only known at run time may be anything."""
    parts = heading.values if isinstance(heading, ast.JoinedStr) else [heading]
    return "".join(
        re.escape(part.value)
        if isinstance(part, ast.Constant)
        else re.escape(str(getattr(names, part.value.id)))
        if isinstance(part.value, ast.Name) and hasattr(names, part.value.id)
        else ".+"
        for part in parts
    )


def first_cells(path):
    text = path.read_text(encoding="utf-8")
    return {
        cell.strip() for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for cell in (row, *row.split(","))
    }


HEADINGS = {
    pattern(call.args[0], importlib.import_module(name)): name
    for name, tree in modules()
    for call in calls(tree, "Column")
}


def test_every_column_is_explained():
    explained = first_cells(DOCS / "reference" / "tables.md")
    assert len(HEADINGS) > 100
    lacking = [f"{h} ({name})" for h, name in HEADINGS.items() if not any(re.fullmatch(h, one) for one in explained)]
    assert not lacking, f"docs/reference/tables.md explains no column {'; '.join(lacking)}"


def test_every_column_of_the_page_is_in_a_table():
    text = (DOCS / "reference" / "tables.md").read_text(encoding="utf-8")
    cells = set(re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)) - {"Column", "column"}
    gone = [cell for cell in cells if not any(re.fullmatch(h, cell) for h in HEADINGS)]
    assert not gone, f"docs/reference/tables.md explains columns that no table has: {'; '.join(sorted(gone))}"


def table_names():
    """Names of all tables; what is only known at run time is KEY."""
    for _, tree in modules():
        for key in (call.args[0] for name in ("table", "card") for call in calls(tree, name)):
            if isinstance(key, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "KEY" for part in key.values)
            elif isinstance(key, ast.Constant):
                yield key.value
        yield from (call.args[0].value.replace("-", "_") for call in calls(tree, "card_section"))


def test_every_table_is_on_the_page_and_no_other():
    text = (DOCS / "reference" / "tables.md").read_text(encoding="utf-8")
    named = {name.strip() for names in re.findall(r"^## .*\[(.+)\]", text, re.MULTILINE) for name in names.split(",")}
    there = set(table_names())
    assert {"headline", "audit_KEY", "model_card", "settings", "failed"} <= there
    lacking = [name for name in there if not any(fnmatch.fnmatch(name, one) for one in named)]
    assert not lacking, f"docs/reference/tables.md has no table {', '.join(sorted(lacking))}"
    gone = [one for one in named if not any(fnmatch.fnmatch(name, one) for name in there)]
    assert not gone, f"docs/reference/tables.md has tables that nothing writes: {', '.join(sorted(gone))}"


def status_names(tree):
    """Names that are the code of a status: in `Status(NAME)`, in `x.code == NAME`, returned by a function `..._status`."""
    places = [call.args[0] for call in calls(tree, "Status")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(
            getattr(p, "attr", "") == "code" for p in (node.left, *node.comparators)
        ):
            places += [node.left, *node.comparators]
        elif isinstance(node, ast.FunctionDef) and node.name.endswith("status"):
            places += [part for one in ast.walk(node) if isinstance(one, ast.Return) for part in returned(one.value)]
    named = [part for place in places for part in ast.walk(place)]
    of_others = {ast.unparse(part) for part in named if isinstance(part, ast.Attribute) and part.attr.isupper()}
    return {part.id for part in named if isinstance(part, ast.Name)} | of_others  # NAME and module.NAME


def returned(value):
    """The parts of a returned value that are names: of `A if x else B` both."""
    if isinstance(value, ast.IfExp):
        return [*returned(value.body), *returned(value.orelse)]
    return [value] if isinstance(value, ast.Name) else []


def codes():
    """Every code of a status, with the module of its constant."""
    for name, tree in modules():
        module = importlib.import_module(name)
        for one in status_names(tree):
            *where, last = one.split(".")
            value = getattr(getattr(module, where[0], None) if where else module, last, None)
            if isinstance(value, str):
                yield value, name


def test_every_status_is_explained():
    explained, found = first_cells(DOCS / "reference" / "statuses.md"), set(codes())
    assert {"converged", "end point collapsed", "desorbed", "upper bound", "exploded"} <= {code for code, _ in found}
    lacking = [f"{code} ({name})" for code, name in sorted(found) if code not in explained]
    assert not lacking, f"docs/reference/statuses.md explains no status {'; '.join(lacking)}"


def test_every_public_name_has_a_docstring_with_what_it_takes_and_raises():
    for name in mlip.__all__:
        if name.startswith("_"):
            continue
        found = getattr(mlip, name)
        text = inspect.getdoc(found) or ""
        assert text.split("\n")[0].endswith((".", "`.")), name
        if inspect.isfunction(found) and len(inspect.signature(found).parameters) > 1:
            assert "Args:" in text, name


# --- the site


def test_links_to_files_of_the_repository_go_to_their_pages():
    text = "[a](../datasets/README.md#adding-labels) [b](method.md#x) [c](https://x.org) [d](../LICENSE) `[e](f.md)`"
    made = generated.with_links(text, DOCS, page=DOCS / "labelling.md")
    assert made.startswith("[a](data.md#adding-labels) [b](method.md#x) [c](https://x.org) d ")
    inside = generated.with_links("[a](docs/labelling.md#another-code)", tiny.REPOSITORY, page=DOCS / "contributing.md")
    assert inside == "[a](labelling.md#another-code)"
    broken = generated.with_links("[how to\nadd](../datasets/README.md)", DOCS, page=DOCS / "labelling.md")
    assert broken == "[how to\nadd](data.md)"
    below = generated.with_links("[a](../method.md)", DOCS, page=DOCS / "how-to" / "quote.md")
    assert below == "[a](../method.md)"


def test_dois_are_links_but_not_in_code():
    made = generated.with_links("(doi:10.1/not)\n(doi:10.1063/1.1329672).\n    doi:10.1063/1.1329672", DOCS, page=DOCS)
    link = "([doi:10.1063/1.1329672](https://doi.org/10.1063/1.1329672))."
    assert made == f"(doi:10.1/not)\n{link}\n    doi:10.1063/1.1329672"


def test_every_setting_command_stage_and_result_is_in_the_reference():
    settings, commands = generated.settings(None), generated.commands(None)
    for setting in config.settings():
        assert f"| `{setting.path}` | {setting.kind}" in settings
    for name in ("predict", "barrier", "label", "export", *pipeline.STAGES):
        assert f"`mlip {name} RUN`" in commands or f"## mlip {name}\n" in commands
    found = generated.results(None)
    assert "| `forward_ev` | `float \\| None` | None unless converged |" in found
    assert all(f"## {stage.name}\n" in found for stage in config.stages())


def test_limits_of_settings_are_told():
    kinds = {setting.path: setting.kind for setting in config.settings()}
    assert kinds["neb.images"] == "whole number, at least 3"
    assert kinds["train.ema_decay"] == "number, above 0, below 1"
    assert kinds["common.device"] == "cpu or cuda"
    assert kinds["structures.bulk_repeat"] == "list of 3 (whole number, at least 1)"
    assert kinds["md.systems.coverage"] == "number, above 0, at most 1 or null"
    assert kinds["train.base"] == "text or null"
    assert kinds["label.frames"] == "list (path)"
