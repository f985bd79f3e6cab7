"""Writes ``docs/reference/*.md`` from the docstrings and signatures of the public modules: ``make reference``.

griffe reads the source and the docstrings (``:param:``, ``:raises:``); nothing is imported. Shown are the names in each
``__all__`` and their public members. Members that a class inherits are shown where its base class is not documented.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Final

import griffe

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "docs" / "reference"
MODULES: Final = ("alma_async", "alma_async.load", "alma_async.polaris", "alma_async.webhooks", "alma_async.events",
                  "alma_async.otel", "alma_async.sim", "alma_async.workers")  # fmt: skip
WIDTH: Final = 100
# What a client's attributes are of: users call their methods and never name them.
AREAS: Final = {
    "alma_async": ("alma.electronic.Collections", "alma.electronic.Services", "alma.electronic.Portfolios", "alma.bibs.Bibs",
                   "alma.bibs.BibPortfolios", "alma.analytics.Analytics", "alma.sets.Sets", "alma.jobs.Jobs"),
    "alma_async.polaris": ("polaris.record_sets.RecordSets",),
}  # fmt: skip
_HEAD: Final = "<!-- Generated from the docstrings by `make reference`. -->"


def pages() -> dict[Path, str]:
    """Each page of the reference and its text."""
    package = griffe.load("alma_async", search_paths=[ROOT], docstring_parser="sphinx", resolve_aliases=True)
    written = {FOLDER / f"{name}.md": _page(package, name) for name in MODULES}
    return {path: f"{text.rstrip()}\n" for path, text in written.items()}


def _page(package: griffe.Object | griffe.Alias, name: str) -> str:
    module = package if name == package.path else package[name.partition(".")[2]]
    names = sorted((str(one) for one in module.exports or ()), key=lambda one: (one.isupper(), one.lower()))
    found = {one: _target(module.members[one]) for one in names if one != "__version__"}
    documented = {target.path for target in found.values()}
    found |= {one.rpartition(".")[2]: _target(package[one]) for one in AREAS.get(name, ())}
    parts = [_HEAD, f"# {name}", *_prose(module.docstring)]
    for one, target in found.items():
        parts += [f"## {one}", *_entry(one, target, documented)]
    return "\n\n".join(parts)


def _target(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


def _entry(name: str, target: griffe.Object, documented: set[str]) -> Iterator[str]:
    match target:
        case griffe.Class():
            yield from _class(name, target, documented)
        case griffe.Function():
            yield _code(_signature(name, target))
            yield from _docs(target)
        case griffe.Attribute():
            yield _code(f"{name}{_annotated(target)}{_value(target)}")
            yield from _prose(target.docstring)
        case griffe.Module():
            yield from _prose(target.docstring)


def _class(name: str, cls: griffe.Class, documented: set[str]) -> Iterator[str]:
    bases = ", ".join(str(base) for base in cls.bases if "Generic" not in str(base))
    members = _members(cls, documented)
    made = members.pop("__init__", None)
    attributes = {one: member for one, member in members.items() if isinstance(member, griffe.Attribute)}
    fields = [
        f"    {one}{_annotated(member)}{_value(member)}"
        for one, member in attributes.items()
        if "property" not in member.labels
    ]
    head = f"class {name}({bases})" if bases else f"class {name}"
    yield _code("\n".join([f"{head}:", *fields]) if fields else head)
    yield from _docs(cls)
    if isinstance(made, griffe.Function) and cls.path in documented:
        yield _code(_signature("__init__", made))
        yield from _docs(made)
    described = [_attribute(one, member) for one, member in attributes.items()]
    if any(described):
        yield "\n".join(filter(None, described))
    for one, member in members.items():
        if isinstance(member, griffe.Function):
            yield f"### {name}.{one}"
            yield _code(_signature(one, member))
            yield from _docs(member)


def _members(cls: griffe.Class, documented: set[str]) -> dict[str, griffe.Object]:
    """Public members, and ``__init__``; inherited ones where their class is of this package and not documented."""
    found: dict[str, griffe.Object] = {}
    own: Mapping[str, griffe.Object | griffe.Alias] = cls.members
    for name, member in [*own.items(), *cls.inherited_members.items()]:
        if name.startswith("_") and name != "__init__":
            continue
        target = _target(member)
        if name not in own and (target.parent is None or target.parent.path in documented):
            continue
        if not isinstance(target, griffe.Module):
            found[name] = target
    return found


def _attribute(name: str, member: griffe.Attribute) -> str:
    if member.docstring is None:
        return f"* `{name}{_annotated(member)}`" if "property" in member.labels else ""
    return _item(f"`{name}{_annotated(member)}`", member.docstring.value)


def _annotated(member: griffe.Attribute) -> str:
    return f": {member.annotation}" if member.annotation is not None else ""


def _value(member: griffe.Attribute) -> str:
    """The default of a field, as far as it is short."""
    text = str(member.value) if member.value is not None else ""
    if re.search(r"\b_[a-z]", text):
        return " = ..."
    if text.startswith(("attrs.field(", "field(")):
        found = re.search(r"default=([^,()]+)", text)
        return f" = {found[1]}" if found else " = ..." if "factory=" in text or "default=" in text else ""
    return f" = {text}" if text and len(text) <= 60 and "\n" not in text else " = ..." if text else ""


def _signature(name: str, function: griffe.Function) -> str:
    shown, starred = [], False
    parameters = [one for one in function.parameters if one.name not in ("self", "cls")]
    for number, one in enumerate(parameters):
        kind = one.kind
        if kind is griffe.ParameterKind.keyword_only and not starred:
            shown.append("*")
            starred = True
        starred = starred or kind is griffe.ParameterKind.var_positional
        mark = (
            {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(kind, "")
            if kind
            else ""
        )
        hint = f": {one.annotation}" if one.annotation is not None else ""
        default = "" if one.default is None or mark else f"{' = ' if hint else '='}{one.default}"
        shown.append(f"{mark}{one.name}{hint}{default}")
        after = parameters[number + 1].kind if number + 1 < len(parameters) else None
        if kind is griffe.ParameterKind.positional_only and after is not kind:
            shown.append("/")
    start = f"{'async ' if 'async' in function.labels else ''}def {name}"
    end = f" -> {function.returns}" if function.returns is not None and function.name != "__init__" else ""
    line = f"{start}({', '.join(shown)}){end}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{start}(", *(f"    {one}," for one in shown), f"){end}"])


def _docs(documented: griffe.Object) -> Iterator[str]:
    """A docstring: prose, parameters, exceptions."""
    if documented.docstring is None:
        return
    for section in documented.docstring.parse("sphinx", warnings=False):
        match section:
            case griffe.DocstringSectionText():
                yield from _paragraphs(section.value)
            case griffe.DocstringSectionParameters():
                yield "\n".join(_item(f"`{one.name}`", one.description) for one in section.value)
            case griffe.DocstringSectionRaises():
                yield "\n".join(_item(f"Raises `{one.annotation}`", one.description) for one in section.value)


def _item(name: str, text: str) -> str:
    return _filled(f"* {name}: {text}")


def _filled(text: str) -> str:
    """A paragraph or an item of a list, at most ``WIDTH`` wide."""
    words = " ".join(text.replace("``", "`").split())
    later = "  " if words.startswith(("* ", "- ")) else ""
    return fill(words, WIDTH, subsequent_indent=later, break_long_words=False, break_on_hyphens=False)


def _prose(docstring: griffe.Docstring | None) -> Iterator[str]:
    if docstring is not None:
        yield from _paragraphs(docstring.value)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs and lists at most ``WIDTH`` wide; indented blocks, such as programs, as they are."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if paragraph.startswith("    "):
            yield paragraph
        else:
            yield "\n".join(map(_filled, re.split(r"\n(?=[*-] )", paragraph)))


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def main() -> int:
    """Write the pages; with ``--check`` say which are not current, and end with 1 if there are any."""
    stale = [
        path
        for path, text in pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is not current: run make reference\n")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
