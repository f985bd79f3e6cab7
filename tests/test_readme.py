"""What the README and the pages of ``docs/`` show works as printed: programs, commands, links, tables."""

from __future__ import annotations

import inspect
import os
import random
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import dedent

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import alma_async
from alma_async import AlmaClient, AlmaError, LocalBudget, Portfolio, Store, events, sim
from alma_async._clock import Clock
from alma_async.load import Load, LoadOptions, Mark, report
from alma_async.load.readers import native
from alma_async.load.reasons import EndReason
from alma_async.polaris import PolarisClient, StaffPassword
from tests.conftest import EPOCH, KEY, institution

ROOT = Path(__file__).resolve().parents[1]
# The reference is generated, and has a test of its own.
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.parent.name != "reference"),
]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
SOURCE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "alma_async").rglob("*.py")))


def named(path):
    return path.relative_to(ROOT).as_posix()


def label(one):
    """What a test of a page is called by."""
    if isinstance(one, Path):
        return named(one)
    return " ".join(one)[:60] if isinstance(one, list) else one.strip().splitlines()[-1].strip()[:40]


def blocks(path, language):
    """The fenced blocks of one language in a page, in order."""
    found = BLOCK.findall(path.read_text(encoding="utf-8"))
    return [dedent(text) for _, told, text in found if told == language]


def prose(path):
    """A page without its blocks."""
    return BLOCK.sub("", path.read_text(encoding="utf-8"))


def split(line):
    """The words of a line of the shell, without its comment."""
    found = shlex.shlex(line, posix=True, punctuation_chars="|;")
    found.whitespace_split = True
    return list(found)


PYTHON = [(path, text) for path in PAGES for text in blocks(path, "python")]
PROGRAMS = [(path, text) for path, text in PYTHON if "anyio.run(" in text]
FUNCTIONS = [(path, text) for path, text in PYTHON if "anyio.run(" not in text]
COMMANDS = [
    (path, words)
    for path in PAGES
    for text in blocks(path, "console")
    for line in text.replace("\\\n", " ").splitlines()
    if line.startswith("$ ")
    for words in [split(line[2:])]
]


# --- the README is a front door


def test_the_readme_is_short():
    """At most 200 lines of at most 100 columns."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 100] == []


def test_prose_fits_in_100_columns():
    """Lines of pages have at most 100 columns, but for rows of tables and commands with what they are for."""
    for path in PAGES:
        lines = [line for line in prose(path).splitlines() if not line.startswith("|")]
        assert [line for line in lines if len(line) > 100] == [], named(path)


# --- links


def anchors(path):
    """What can be linked to in a page, as GitHub names it."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path):
    return re.findall(r"\]\(([^)\s]+)\)", prose(path))


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_somewhere(path):
    """Each link between pages leads to a file of the repository, and to a heading in it."""
    for link in links(path):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        to = (path.parent / target).resolve() if target else path
        assert to.is_file(), link
        assert to.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(to), link


def test_each_page_can_be_found():
    """Each page is linked to from the README and from the list of pages."""
    for start in (ROOT / "README.md", ROOT / "docs" / "README.md"):
        found = {(start.parent / link.partition("#")[0]).resolve() for link in links(start)}
        assert set(PAGES[1:]) - found <= {start, ROOT / "docs" / "README.md"}, named(start)


# --- programs


def test_every_block_has_a_known_language():
    """Python is run, console is parsed, and text is what a program says; nothing else goes unchecked but the picture."""
    found = {language for path in PAGES for _, language, _ in BLOCK.findall(path.read_text(encoding="utf-8"))}
    assert found == {"python", "console", "text", ""}
    assert [named(path) for path in PAGES if blocks(path, "")] == ["docs/architecture.md"]


def test_every_python_block_passes_the_type_checker(tmp_path):
    """The Python of all pages needs no assertion or cast under mypy strict, so the public types say what they should."""
    programs = [tmp_path / f"block_{number}.py" for number, _ in enumerate(PYTHON)]
    for program, (_, text) in zip(programs, PYTHON, strict=True):
        program.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *map(str, programs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"no issues found in {len(programs)} source files" in done.stdout


def put_a_portfolio(world):
    """One portfolio of the demo's service, and its title."""
    world.add_bib("991122334455", "Annals of Examples", cluster_issns=("2049-3630",))
    body = {"resource_metadata": {"mms_id": {"value": "991122334455"}}, "availability": {"value": "11"}}
    return world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, body, now=0.0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # they are processes of their own
@pytest.mark.parametrize(("path", "text"), PROGRAMS, ids=label)
async def test_programs_run_as_printed(path, text, tmp_path, anyio_backend):
    """Each whole program runs against the simulator, word for word, and does what it says."""
    async with sim.serve(sim.World.demo()) as server:
        made = put_a_portfolio(server.world)
        program = tmp_path / "program.py"
        program.write_text(text, encoding="utf-8")
        environment = {
            **{name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "ALMA_API_KEY": "sim-readme",
            "ALMA_BASE_URL": server.base_url,
            "ALMA_STATE_DIR": str(tmp_path),
        }
        done = await anyio.run_process([sys.executable, str(program)], env=environment, check=False)
        assert done.returncode == 0, done.stderr.decode()
        told = done.stdout.decode().splitlines()
        if named(path) == "docs/simulator.md":
            assert told == ["1 collections", "1 calls received"]
            return
        assert told[0] == f"{made['id']} Annals of Examples"
        assert told[-1].endswith("calls remain today")
        if named(path) == "docs/python.md":
            assert told[1] == "1 collections"
            assert server.world.portfolios.all[made["id"]]["public_note"] == "Access on campus"


# What each function of the pages prints, in part. Those that are None are run by another one of their page.
PRINTS = {
    "load_titles": "2 0 0 1 0\n",
    "later": "()\n",
    "back_up": "1 (",
    "find_out": "replace {'coverage': {'empty_list': 'cleared', ",
    "differences": "[]",
    "hold_what_the_list_says": "None not all rows of the list ended well (1 rejected)\n",
    "deactivate": "1 0 set 95",
    "each_end": "message-1 done created None 53",
    "consume": "event-1 created\nevent-2 updated\n",
    "run_a_job": "True 0",
    "number_of_sets": "200 1 sets",
    "print_issns": "991122334455 Annals of Examples 2049-3630 023$a\n99000 has no record: ",
    "note": "On campus only\n",
    "explain": "40",
    "counted": "2 rows can be sent",
    "one_row": "Coverage(from_year='1998', from_month='03'",
    "a_set_and_a_job": "1 added, [] rejected",
    "a_record_set": " 2 ()\nBibliographicRecord(record_id=275071",
    "client": "",
    "create_once": "2 portfolios of the title",
    "titles": None,
    "load_them": "0 {'rows': 5, 'created': 5",
    "nightly": "False True",
    "count": None,
    "observed": "('list collections', 'ok'): 1",
    "set_up": None,
    "instrumented": "1 sets",
    "alone": "False",
    "together": "1 ",
    "one_try": None,
    "on_message": None,
    "load_anywhere": "2 1\n",
    "go_on_elsewhere": "0\n",
    "all_machines": "<Store db.example.org/library>",
    "app": None,  # so does this: tests/test_webhook_receiver.py
    "opened": None,
    "portfolio": None,
    "application": "",
}
LIST = """\
mms_id,url,title
991000100000370421,https://journals.example.org/1,One
991000100000740421,https://journals.example.org/2,Two
no-id,https://journals.example.org/3,Three
"""


@pytest.mark.parametrize(("path", "text"), FUNCTIONS, ids=label)
async def test_functions_run_as_printed(path, text, tmp_path, monkeypatch, request):
    """Each function of the pages runs against the simulator, in the order of its page, and prints what it should."""
    monkeypatch.chdir(tmp_path)
    Path("springer.csv").write_text(LIST, encoding="utf-8")
    lost = sim.FaultPlan(rules=[sim.Rule("cut_after", method="POST", path="portfolios")])
    switches = {"faults": lost} if path.name == "lost-answer.md" else {}
    if "store:" in text:
        store = Store(request.getfixturevalue("store_url"), clock=Clock(epoch=EPOCH))
        switches["client"] = {"store": store}
    async with institution(**switches) as (server, alma):
        given = await arguments(server, alma, monkeypatch)
        space = {"__name__": "page"}
        exec(compile(text, named(path), "exec", dont_inherit=True), space)
        for name, function in list(space.items()):
            if inspect.isfunction(function) and function.__module__ == "page" and PRINTS[name] is not None:
                assert PRINTS[name] in await said(function, given), name
        await given["polaris"].aclose()


async def arguments(server, alma, monkeypatch):
    """What the functions of the pages take, by name; and the environment that they read."""
    monkeypatch.setenv("ALMA_API_KEY", KEY)
    monkeypatch.setenv("ALMA_BASE_URL", server.base_url)
    made = put_a_portfolio(server.world)
    chosen = await alma.request(
        "POST",
        "/almaws/v1/conf/sets",
        json={"name": "A set", "type": {"value": "ITEMIZED"}, "content": {"value": "PORTFOLIO"}},
    )
    await alma.sets.add_members(chosen.data["id"], [made["id"]])
    return {
        "alma": alma,
        "polaris": PolarisClient(
            server.polaris_base_url,
            organization_id=sim.POLARIS_ORGANIZATION,
            workstation_id=sim.POLARIS_WORKSTATION,
            auth=StaffPassword(sim.POLARIS_DOMAIN, sim.POLARIS_USER, sim.POLARIS_PASSWORD),
            budget=LocalBudget(),
            clock=Clock(epoch=EPOCH),
        ),
        "collection_id": "61999",
        "mms_id": "991122334455",
        "mms_ids": ["991122334455", "99000"],
        "portfolio": Portfolio.from_dict({"resource_metadata": {"mms_id": {"value": "991122334455"}}}),
        "portfolio_id": made["id"],
        "portfolio_ids": [made["id"]],
        "set_id": chosen.data["id"],
        "job_id": sim.DEMO_JOB,
    }


async def said(function, given):
    """What a function prints; a web application is asked for one portfolio."""
    with redirect_stdout(StringIO()) as printed:
        done = function(**{name: given[name] for name in inspect.signature(function).parameters})
        if inspect.isawaitable(done):
            await done
        elif isinstance(done, web.Application):
            async with TestClient(TestServer(done)) as browser:
                place = f"/{sim.DEMO_COLLECTION}/{sim.DEMO_SERVICE}"
                found = await browser.get(f"{place}/{given['portfolio_ids'][0]}")
                assert (await found.json())["id"] == given["portfolio_ids"][0]
                assert (await browser.get(f"{place}/5399")).status == 404
        elif isinstance(done, PolarisClient):
            await done.aclose()
    return printed.getvalue()


def test_no_function_goes_unrun():
    """What is said of the functions above is said of functions that there are."""
    there = {
        name for _, text in FUNCTIONS for name in re.findall(r"^(?:async )?def (\w+)", text, re.MULTILINE)
    }
    assert there == set(PRINTS)


# --- commands


def parts(words):
    """The simple commands of a line."""
    found = [[]]
    for word in words:
        if set(word) <= set("|;"):
            found.append([])
        else:
            found[-1].append(word)
    return found


@pytest.mark.parametrize(("path", "words"), COMMANDS, ids=label)
def test_commands_are_as_the_command_line_has_them(path, words):
    """Each command of the pages is one: its name, its arguments and its options."""
    for command in parts(words):
        match command:
            case ["alma-async", *tokens]:
                from alma_async.cli.app import app

                app.parse_args(tokens, exit_on_error=False, print_error=False)
            case ["make", target]:
                assert re.search(
                    rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
                )
            case ["pip", "install", what]:
                project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
                name, _, extra = what.rstrip("]").partition("[")
                assert name == project["name"]
                assert not extra or extra in project["optional-dependencies"]
            case ["python", "-m", module, *options]:
                source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
                assert all(f'"{one}"' in source for one in options if one.startswith("--"))
            case ["export", assigned]:
                assert f'"{assigned.partition("=")[0]}"' in SOURCE
            case _:
                assert command[0] == "jq"


def test_a_wrong_command_is_found():
    """The check above fails for an option that there is not, and for a command."""
    for line in ("alma-async load titles.txt --colection 61", "alma-async laod titles.txt"):
        with pytest.raises(Exception, match=r"[Uu]n(known|used)|laod|colection"):
            test_commands_are_as_the_command_line_has_them(ROOT, line.split())


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_options_and_variables_exist(path):
    """Each option and each variable that a page names stands in the code."""
    text = path.read_text(encoding="utf-8")
    benchmarks = "".join(
        one.read_text(encoding="utf-8") for one in sorted((ROOT / "benchmarks").glob("*.py"))
    )
    for option in re.findall(r"`(--[a-z][a-z-]+)", prose(path)):
        name = option[2:].removeprefix("no-").replace("-", "_")
        assert re.search(rf"\b{name}\b\s*[:=]|\"{option}\"", SOURCE + benchmarks), option
    for variable in re.findall(r"\b(?:ALMA|POLARIS)_[A-Z_]+[A-Z]\b", text):
        assert re.search(rf"\b{variable.removesuffix('_FILE')}(_FILE)?\b", SOURCE), variable


# --- tables


def test_every_reason_is_in_the_table():
    """The table of reasons says of each code what the code says, in its order, and no more."""
    rows = re.findall(r"^\| `(\S+)` \| (.+) \| (.+) \|$", prose(ROOT / "docs" / "reasons.md"), re.MULTILINE)
    assert rows == [(one.code, one.sentence.replace("{}", "…"), one.advice) for one in EndReason]


@pytest.mark.parametrize(
    ("page", "heading", "what"),
    [
        ("python.md", "What it takes", AlmaClient),
        ("loads.md", "What it takes", Load),
        ("loads.md", "Options", LoadOptions),
    ],
)
def test_every_argument_is_in_its_table(page, heading, what):
    """The table of what a class takes names each of its arguments, and no other."""
    text = prose(ROOT / "docs" / page)
    section = re.split("^## ", text, flags=re.MULTILINE)[1:]
    table = next(part for part in section if part.startswith(heading))
    cells = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    told = [name for cell in cells for name in re.findall(r"`(\w+)`", cell) if name != "Load"]
    assert sorted(told) == sorted(inspect.signature(what).parameters)


def first_cells(page, heading):
    """The names in the first cells of the table under a heading."""
    text = "\n" + prose(ROOT / "docs" / page)
    section = text.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}


def test_every_error_is_in_the_table():
    """The table of errors names each exception that the package exports, and no other."""
    exported = {name: getattr(alma_async, name) for name in alma_async.__all__}
    there = {name for name, one in exported.items() if inspect.isclass(one) and issubclass(one, AlmaError)}
    assert first_cells("errors.md", "# Errors") == there - {"AlmaError"}


def test_every_event_and_reason_of_waiting_is_in_its_table():
    """The tables of events and of what a call waits for are those of the code."""
    page = "how-to/logging-and-metrics.md"
    there = {one.__name__ for one in events.Event.__subclasses__()}
    assert first_cells(page, "## Events and metrics") == there
    said = re.findall(r"``([\w-]+)``", str(events.CallFinished.__doc__).partition("``outcome``")[0])
    assert first_cells(page, "## Why a call waited") == {*said} - {"waits", "seconds"}


def test_marks_and_columns_are_those_of_the_code():
    """The marks of verify, the columns of reports and those of the native table stand in the pages as in the code."""
    loads, lists = (" ".join(prose(ROOT / "docs" / page).split()) for page in ("loads.md", "lists.md"))
    marks = re.findall(r"\| `(\W|2)` \|", loads)
    assert marks == sorted((one.value for one in Mark), key="=+*2-?~".index)
    assert ", ".join(report.COLUMNS) in loads
    named_there = re.search(r"All else is optional: `([\w, ]+)`", lists)
    assert named_there is not None
    assert {*named_there[1].split(", "), "mms_id"} == native.COLUMNS


def test_architecture_has_the_floors_of_the_contract():
    """The picture of the floors is that of the import contract, and names every room of the package."""
    picture = blocks(ROOT / "docs" / "architecture.md", "")[0]
    floors = [re.split("  ", line)[0].strip() for line in picture.splitlines()]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert floors == next(one["layers"] for one in contracts if one["id"] == "floors")


def test_architecture_names_files_that_are_there():
    """Each file that the table names is in its room."""
    table = prose(ROOT / "docs" / "architecture.md").partition("## Files")[2].partition("\n## ")[0]
    rooms = re.findall(r"^\| `([\w/]+)` \| (.+) \|$", table, re.MULTILINE)
    assert len(rooms) == 12
    for room, files in rooms:
        there = {path.stem for path in (ROOT / "alma_async" / room).iterdir()}
        assert set(re.findall(r"`(\w+)`", files)) <= there, room


def test_the_package_imports_no_extra(tmp_path):
    """Importing the client and the loader loads nothing of the extras, and the package's face loads no HTTP client."""
    program = (
        "import sys, alma_async; assert 'aiohttp' not in sys.modules;"
        "import alma_async.load; from alma_async import AlmaClient;"
        "print([m for m in ('cyclopts', 'rich', 'openpyxl', 'python_calamine', 'psycopg', 'procrastinate', 'opentelemetry')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the picture


async def test_the_picture_is_of_a_real_load(tmp_path, monkeypatch):
    """The script of the picture loads every row, never above the limit, and draws what the committed picture shows."""
    from xml.etree import ElementTree as ET

    from benchmarks.load_picture import LIMIT, drawing, story

    state = random.getstate()
    try:
        told = await story(60)
    finally:
        random.setstate(state)
    assert told.done[-1][1] == 60
    assert told.most_in_a_second <= LIMIT
    drawn, kept = drawing(told), (ROOT / "docs" / "load.svg").read_text(encoding="utf-8")
    marks = {"polygon", "polyline", "line", "path", "rect"}
    for text in (drawn, kept):
        tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(text).iter()}
        assert marks <= tags
    assert re.search(r"never more than (\d+) in a second", kept)[1] == str(LIMIT)
    assert len(kept) < 20_000
