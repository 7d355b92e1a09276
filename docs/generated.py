"""What pages of the site derive from the code: settings, commands, results and the public names of the package.

Takes the source of a page; gives the same with every line `<!-- generated: NAME -->` replaced by Markdown, with links
to files of the repository pointed at their pages, and with DOIs as links. Nothing of this is kept in a file.
"""

import argparse
import dataclasses
import inspect
import os
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlip
from mlip import cli, config, pipeline
from mlip.core.section import Setting

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
PAGES = {"README.md": "index.md", "datasets/README.md": "data.md", "CONTRIBUTING.md": "contributing.md"}
MARKER = re.compile(r"^<!-- generated: ([a-z-]+)(?: (\S+))? -->$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!https?:|#)([^)\s#]*)(#[^)\s]*)?\)")
DOI = re.compile(r"(?<![\[\w/.`])doi:(10\.\d{4,9}/[^\s,;)|]*[^\s,;)|.:])")


def fill(app: object, page: str, source: list[str]) -> None:  # noqa: ARG001  (arguments that Sphinx gives)
    """Replace the markers of a page, and point its links at pages of the site."""
    text = MARKER.sub(lambda found: MADE[found[1]](*found.groups()[1:]), source[0])
    source[0] = with_links(text, DOCS, page=DOCS / f"{page}.md")


def with_links(text: str, folder: Path, *, page: Path) -> str:
    """The text of a file of `folder` with links that hold on `page`, and its DOIs as links.

    A link to a file that has no page keeps its words.
    """

    def pointed(found: re.Match[str]) -> str:
        words, path, anchor = found[1], found[2], found[3] or ""
        target = os.path.relpath((page.parent if folder == DOCS else folder) / path, REPOSITORY)
        target = PAGES.get(target, target.removeprefix("docs/") if target.startswith("docs/") else "")
        if not target.endswith(".md"):
            return words
        return f"[{words}]({os.path.relpath(DOCS / target, page.parent)}{anchor})"

    parts, fenced = [], False
    for line in text.split("\n"):
        fence = line.lstrip().startswith(("```", "~~~"))
        plain = not (fenced or fence or line.startswith("    "))
        fenced ^= fence
        if parts and parts[-1][0] == plain:
            parts[-1][1].append(line)
        else:
            parts.append((plain, [line]))
    texts = ((plain, "\n".join(lines)) for plain, lines in parts)
    return "\n".join(DOI.sub(r"[doi:\1](https://doi.org/\1)", LINK.sub(pointed, t)) if p else t for p, t in texts)


def included(path: str) -> str:
    """A Markdown file of the repository as the text of a page of `docs/`."""
    source = REPOSITORY / path
    return with_links(source.read_text(encoding="utf-8"), source.parent, page=DOCS / "page.md")


def rows(heading: Sequence[str], lines: Iterator[Sequence[str]]) -> str:
    """A Markdown table."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in (heading, *lines)]
    cells.insert(1, ["---"] * len(heading))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def settings(_: str | None) -> str:
    """Every section of a config with its settings."""
    parts = []
    for name, kind in config.sections().items():
        entry = pipeline.STAGES.get(name)
        about = (inspect.getdoc(kind) or "").split("\n\n")[0]
        intro = f"Stage `{name}`: {entry.help}. {about}" if entry else about
        found = (_setting(one) for one in config.settings(name))
        parts.append(
            f"(settings-{name})=\n## {name}\n\n{intro}\n\n{rows(('Setting', 'Type', 'Default', 'Meaning'), found)}"
        )
    return "\n\n".join(parts)


def _setting(one: Setting) -> Sequence[str]:
    default = one.default if one.default == "required" else f"`{one.default}`" if one.default else "empty"
    return f"`{one.path}`", one.kind, default, one.description


def stages(_: str | None) -> str:
    """The stages in the order in which they run."""
    lines = (
        (
            f"[`{stage.name}`](#settings-{stage.name})",
            _sentence(pipeline.STAGES[stage.name].help),
            "where its section says `run: true`" if stage.is_optional else "always",
            ", ".join(f"`{one.name}`" for one in stage.needs) or "nothing",
        )
        for stage in config.stages()
    )
    return rows(("Stage", "What it does", "Part of `mlip run`", "Needs"), lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def commands(_: str | None) -> str:
    """Every command with its arguments; those of stages, which take a run folder alone, in one table."""
    parser = cli.parser()
    (group,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    helps = {one.dest: one.help or "" for one in group._choices_actions}  # noqa: SLF001
    plain, parts = [], []
    for name, command in group.choices.items():
        taken = [a for a in command._actions if a.dest != "help"]  # noqa: SLF001
        if name in pipeline.STAGES and len(taken) == 1:
            plain.append((f"`mlip {name} RUN`", _sentence(helps[name])))
        else:
            parts.append(_command(name, command, taken, _sentence(helps[name])))
    return "\n\n".join(
        [
            *parts,
            "(commands-stages)=\n## Commands of single stages\n\n" + rows(("Command", "What it does"), iter(plain)),
        ]
    )


def _command(name: str, command: argparse.ArgumentParser, taken: Sequence[argparse.Action], about: str) -> str:
    command.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=100)
    usage = command.format_usage().removeprefix("usage: ").strip()
    table = rows(("Argument", "Meaning"), ((_argument(a), _meaning(a)) for a in taken))
    return f"(command-{name})=\n## mlip {name}\n\n{about}\n\n```text\n{usage}\n```\n\n{table}"


def _argument(action: argparse.Action) -> str:
    names = ", ".join(f"`{option}`" for option in action.option_strings)
    return names or f"`{action.metavar or action.dest}`"


def _meaning(action: argparse.Action) -> str:
    words = [(action.help or "").strip()]
    if action.choices:
        words.append(f"one of {', '.join(map(str, action.choices))}")
    if action.option_strings and action.required:
        words.append("required")
    if action.option_strings and action.default not in {None, False}:
        words.append(f"default {action.default}")
    return "; ".join(filter(None, words))


def results(_: str | None) -> str:
    """The fields of `result.json` of every stage."""
    parts, seen = [], set()
    for stage in config.stages():
        parts.append(f"## {stage.name}\n")
        for kind in _records(stage.result):
            if kind in seen:
                continue
            seen.add(kind)
            about = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
            lines = ((f"`{name}`", f"`{type_}`", words) for name, type_, words in _fields(kind))
            parts.append(f"### {kind.__name__}\n\n{about}\n\n{rows(('Field', 'Type', 'Meaning'), lines)}\n")
    return "\n".join(parts)


def _records(kind: type) -> Iterator[type]:
    """A dataclass and those inside its fields."""
    yield kind
    for hint in typing.get_type_hints(kind).values():
        for inner in _inside(hint):
            yield from _records(inner)


def _inside(hint: object) -> Iterator[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from _inside(inner)


def _fields(kind: type) -> Iterator[tuple[str, str, str]]:
    """Name, type and words of every field: those under 'Attributes' of the docstring, or the comment behind it."""
    source = inspect.getsource(kind)
    for field in dataclasses.fields(kind):
        comment = re.search(rf"^    {field.name}: [^#\n]*#\s*(.+)$", source, re.MULTILINE)
        listed = re.search(rf"^ +{field.name}: (.+(?:\n {{12,}}\S.*)*)$", inspect.getdoc(kind) or "", re.MULTILINE)
        found = re.sub(r"\s+", " ", listed[1]) if listed else comment[1] if comment else _said(field.name)
        yield field.name, _type(field.type), found


UNITS = {
    "ev_per_angstrom2": "eV/Angstrom^2",
    "ev_per_angstrom": "eV/Angstrom",
    "ev_per_atom": "eV/atom",
    "angstrom2": "Angstrom^2",
    "angstrom": "Angstrom",
    "kelvin": "K",
    "ev": "eV",
    "ps": "ps",
    "fs": "fs",
    "gpa": "GPa",
}  # endings of names, longer ones first


def _said(name: str) -> str:
    """A name in words, with its unit: `forward_std_ev` as 'forward std (eV)'."""
    for ending, unit in UNITS.items():
        if name.endswith(f"_{ending}"):
            return f"{name.removesuffix(f'_{ending}').replace('_', ' ')} ({unit})"
    return name.replace("_", " ")


def _type(hint: object) -> str:
    text = (
        hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)
    )
    return re.sub(r"\b(?:mlip|typing|pathlib|collections|numpy)(?:\.\w+)*\.", "", text)


HIDDEN = "run, calculate, implemented_properties"  # members that users do not call


def public(_: str | None) -> str:
    """The names of `import mlip`, each with its docstring."""
    parts = []
    for name in mlip.__all__:
        if name.startswith("_"):
            continue
        kind = "autoclass" if isinstance(getattr(mlip, name), type) else "autofunction"
        options = (
            "\n   :members:\n   :exclude-members: run, calculate, implemented_properties" if kind == "autoclass" else ""
        )
        parts.append(f"## mlip.{name}\n\n```{{eval-rst}}\n.. {kind}:: mlip.{name}{options}\n```")
    return "\n\n".join(parts)


MADE = {
    "settings": settings,
    "stages": stages,
    "commands": commands,
    "results": results,
    "public": public,
    "file": included,
}
