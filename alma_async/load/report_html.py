"""The report of a load as one page for people: what, when, price and bill, pace
and waits, how rows ended.

Decides what the page says; ``report_style`` decides its style. One file that stands alone: no
script, nothing remote, and a policy in it that allows neither. No meaning is in a colour alone, and
each table has a caption. Each text from outside is escaped, isolated in its direction, and shown
without what steers a reader; secrets of this process, signatures and passwords in URLs are ``***``.

Rows that a person has to see to (for review, rejected) are on it in full; of the others the first
``SHOWN`` of each kind, and the page says so. It is written in one pass: each section is spooled to
a file without a name, so memory stays flat however many rows there are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from html import escape
from pathlib import PurePath, PureWindowsPath
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, TypeAlias

import attrs

from alma_async._text import counted, duration, masked
from alma_async._version import __version__
from alma_async.load.dry_run import Writes
from alma_async.load.entries import OPEN, State
from alma_async.load.facts import CALLS, JOB_CALLS, MEASURED, SURPLUS_KEPT
from alma_async.load.fields import COVERAGE
from alma_async.load.job_template import JobTemplate
from alma_async.load.measured import Measured, Stretch
from alma_async.load.progress import job_of
from alma_async.load.reasons import EndReason
from alma_async.load.report_style import DIGEST, STYLE

__all__ = ["SHOWN", "About", "html_writer"]

SHOWN: Final = 200  # chosen: rows of each kind that need nobody
_LONGEST: Final = 2000  # chosen: characters of one text
_IN_MEMORY: Final = 2**18  # bytes of a section

Record: TypeAlias = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class About:
    """What a page says of its load beside the rows. ``facts`` are the journal's,
    ``written`` is civil seconds.
    """

    journal: str
    facts: Mapping[str, str]
    written: float

    @property
    def dry(self) -> bool:
        """Whether nothing was done but planned."""
        return bool(self.facts.get("dry"))

    @property
    def title(self) -> str:
        """The name of the page."""
        kind = "Dry run" if self.dry else "Undo" if self.facts.get("action") == "undo" else "Load"
        return f"{kind} of {_name(self.facts.get('file') or self.journal)}"


def _name(path: str) -> str:
    """The last part of a path of whichever system: where a file lies is nobody's business."""
    return PureWindowsPath(path).name if "\\" in path else PurePath(path).name or path


# --- texts

_JOINERS: Final = re.compile("([\u200c\u200d])")  # they shape letters and move nothing
# What signs or opens in a URL: the value of a parameter that is named so, and a
# password before the host.
_SIGNED: Final = re.compile(
    r"([?&;](?:x-amz-(?:signature|credential|security-token)|x-goog-signature|sig|signature|hmac|token|access_token|auth|"
    r"api_?key|key|secret|password|pwd|ticket|jwt)=)[^&;#\s\"'<>]+",
    re.IGNORECASE,
)
_USER: Final = re.compile(r"(//)[^/@\s]+:[^/@\s]+@")


def _shown(value: Any) -> str:
    """A text from outside, harmless: masked, plain, escaped and cut."""
    text = " ".join(str(value).split()) if not str(value).isprintable() else str(value)
    text = _USER.sub(r"\1***@", _SIGNED.sub(r"\1***", text))
    more = f"… ({len(text) - _LONGEST:,} characters more)" if len(text) > _LONGEST else ""
    parts = _JOINERS.split(text[:_LONGEST])
    return escape("".join(part if _JOINERS.fullmatch(part) else masked(part) for part in parts)) + more


def _foreign(value: Any) -> str:
    """A text from outside, whose direction does not spread to what stands around it."""
    return f"<bdi>{_shown(value)}</bdi>"


def _when(seconds: float) -> str:
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
    return f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'


def _table(
    caption: str, heads: Sequence[str], rows: Iterable[str], *, kind: str = "", note: str = ""
) -> Iterator[str]:
    """A table; ``heads`` that begin with # are of numbers."""
    said = f'<span class="note">{note}</span>' if note else ""
    yield f'<div class="scroll" tabindex="0"><table class="{kind}"><caption>{caption}{said}</caption><thead><tr>'
    for head in heads:
        yield f'<th scope="col"{" class=num" if head.startswith("#") else ""}>{head.lstrip("#")}</th>'
    yield "</tr></thead><tbody>\n"
    yield from rows
    yield "</tbody></table></div>\n"


def _line(head: str, *cells: str, numbers: int = 0) -> str:
    """One row whose first cell names it; the last ``numbers`` cells are numbers."""
    first = len(cells) - numbers
    shown = "".join(f"<td{' class=num' if n >= first else ''}>{cell}</td>" for n, cell in enumerate(cells))
    return f'<tr><th scope="row">{head}</th>{shown}</tr>\n'


# --- rows


def _row(one: Record) -> str:
    """A row with its why and its before and after."""
    lines = one["lines"] or [one["line"] or "–"]  # none of the file's: the list does not name it
    many = f'<br><span class="ids">and {len(lines) - 1:,} more</span>' if len(lines) > 1 else ""
    return (
        f'<tr><th scope="row" class="num">{_number(lines[0])}{many}</th>'
        f"<td>{_what(one)}</td><td>{_why(one)}</td><td>{_changes(one)}</td></tr>\n"
    )


def _number(line: int | str) -> str:
    return f"{line:,}" if isinstance(line, int) else line


def _what(one: Record) -> str:
    ids = [f"MMS {_shown(one['mms_id'])}"] if one["mms_id"] else []
    ids += [f"portfolio {_shown(one['portfolio_id'])}"] if one["portfolio_id"] else []
    ids += [_shown(each) for each in (one["identifiers"] or ())[:6]]
    title = f"{_foreign(one['title'])}<br>" if one["title"] else ""
    return f'{title}<span class="ids">{" · ".join(ids) or "no identifier"}</span>'


def _why(one: Record) -> str:
    reason = (
        f'<a href="#why-{_shown(one["reason"])}"><code>{_shown(one["reason"])}</code></a> '
        if one["reason"]
        else ""
    )
    said = _foreign(one["message"]) if one["message"] else ""
    facts = [
        f"{name} {_shown(one[key])}"
        for name, key in (("Alma’s code", "code"), ("tracking id", "tracking_id"))
        if one[key]
    ]
    shown = f'<br><span class="ids">{" · ".join(facts)}</span>' if facts else ""
    warned = "".join(
        f'<br><span class="ids">⚠ {_foreign(each)}</span>' for each in (one["warnings"] or ())[:5]
    )
    return f"{reason}{said}{shown}{warned}" or "–"


def _changes(one: Record) -> str:
    before, after = one["before"] or {}, one["after"] or {}
    if not before and not after:
        return '<span class="ids">–</span>'
    parts = [
        f"<dt>{_shown(name)}</dt><dd>{_said('before', before.get(name), 'del')} {_said('after', after.get(name), 'ins')}</dd>"
        for name in dict.fromkeys((*before, *after))
    ]
    return f'<dl class="changes">{"".join(parts)}</dl>'


def _said(when: str, value: Any, tag: str) -> str:
    text = f"<{tag}>{_foreign(value)}</{tag}>" if value else '<span class="ids">nothing</span>'
    arrow = "→ " if when == "after" else ""
    return f'<span class="said">{arrow}<span class="hear">{when}: </span>{text}</span>'


_HEADS: Final = ("#Line", "Row", "Why", "Before → after")
# Where rows go by their state: a section, its caption, and whether all of them are shown.
_SECTIONS: Final[Mapping[str, tuple[str, bool]]] = {
    "review": ("Rows for review", True),
    "rejected": ("Rejected rows", True),
    "pending": ("Rows that have not ended", False),
    "duplicate": ("Duplicate rows", False),
    "changed": ("Rows that changed something", False),
    "planned": ("What would be changed", False),
    "undone": ("Rows that were taken back", False),
}
_STATES: Final[Mapping[str, str]] = {
    "done": "carried out",
    "planned": "would be carried out; nothing was sent",
    "review": "a person has to decide",
    "rejected": "not carried out",
    "duplicate": "said the same as another row, which was loaded",
    "undone": "carried out, and taken back since",
    "pending": "not begun, or waiting for its next call",
    "intent": "about to be sent when the load ended",
    "unknown": "sent, and the answer was lost; it is read back after the quarantine",
}


# --- the page


class _Page:
    """Counts rows as they come, and spools those that are shown."""

    def __init__(self, about: About, stack: ExitStack) -> None:
        self._about = about
        self._measured = Measured.read(about.facts.get(MEASURED))
        self._spools = {
            name: stack.enter_context(SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 - the stack closes it
            for name in (*_SECTIONS, "warning")
        }
        self._kept: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._differing: set[str] = set()  # sections with a row that has a before and after
        self._states: Counter[tuple[str, str]] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._writes = Writes()

    def add(self, records: Iterable[Record]) -> None:
        """Some more rows."""
        for one in records:
            state, action = str(one["state"]), str(one["action"] or "")
            if state == "warning":
                self._keep("warning", f"<li>{_foreign(one['message'])}</li>\n", every=False)
                continue
            self._states[state, action] += 1
            if one["reason"]:
                self._reasons[one["reason"], state] += 1
            if state == "planned":
                self._writes += _writes(action, one["after"] or {})
            section = _section(state, action)
            if section:
                if one["before"] or one["after"]:
                    self._differing.add(section)
                every = _SECTIONS[section][1]
                self._keep(section, _row(one) if every or self._kept[section] < SHOWN else "", every=every)

    def _keep(self, section: str, text: str, *, every: bool) -> None:
        self._seen[section] += 1
        if every or self._kept[section] < SHOWN:
            self._kept[section] += 1
            self._spools[section].write(text.encode())

    def write(self, file: IO[bytes]) -> None:
        """All of it."""
        for text in (
            *self._head(),
            *self._summary(),
            *self._facts(),
            *self._bill(),
            *self._pace(),
            *self._ends(),
        ):
            file.write(text.encode())
        for name, (caption, every) in _SECTIONS.items():
            if self._seen[name]:
                self._section(file, name, caption, every=every)
        if self._seen["warning"]:
            file.write(b'<section id="warnings"><h2>What was noticed in the file</h2><ul>\n')
            self._copy(file, "warning")
            file.write(f"</ul>{self._cut('warning')}</section>\n".encode())
        file.write(self._foot().encode())

    def _section(self, file: IO[bytes], name: str, caption: str, *, every: bool) -> None:
        seen = self._seen[name]
        file.write(f'<section id="{name}"><h2>{caption} <span class="count">{seen:,}</span></h2>'.encode())
        note = "" if every else self._cut(name)
        kind = "rows" if name in self._differing else "rows three"
        around = list(_table(f'<span class="hear">{caption}</span>', _HEADS, ("\0",), kind=kind))
        split = around.index("\0")
        file.write("".join(around[:split]).encode())
        self._copy(file, name)
        file.write(f"{''.join(around[split + 1 :])}{note}</section>\n".encode())

    def _copy(self, file: IO[bytes], name: str) -> None:
        self._spools[name].seek(0)
        copyfileobj(self._spools[name], file)

    def _cut(self, name: str) -> str:
        more = self._seen[name] - self._kept[name]
        return (
            f'<p class="note">The first {self._kept[name]:,} of {self._seen[name]:,} are shown; a report in .csv, .xlsx or .jsonl '
            "has all of them.</p>"
            if more
            else ""
        )

    # --- counts

    def _count(self, *states: str) -> int:
        return sum(count for (state, _), count in self._states.items() if state in states)

    @property
    def _rows(self) -> int:
        return sum(self._states.values())

    @property
    def _open(self) -> int:
        return self._count(*(state.value for state in OPEN))

    def _verdict(self) -> tuple[str, str, str]:
        """How it stands: a class, a word, a sentence."""
        needs = self._count("rejected", "review")
        if self._about.dry:
            left = f" {counted(self._open, 'row')} not compared yet." if self._open else ""
            return "plain", "Dry run", f"Nothing was changed.{left}"
        if self._open:
            go_on = f"<code>alma-async resume {_shown(self._about.journal)}</code>"
            return "warn", "Not finished", f"{counted(self._open, 'row')} left. It goes on with {go_on}."
        if needs:
            return (
                "warn",
                "Finished",
                f"{counted(needs, 'row')} need{'s' if needs == 1 else ''} a person: see below what to do.",
            )
        return "good", "Finished", "All rows are as they should be."

    # --- parts

    def _head(self) -> Iterator[str]:
        policy = f"default-src 'none'; style-src 'sha256-{DIGEST}'; base-uri 'none'; form-action 'none'"
        yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="robots" content="noindex">\n'
        yield '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n'
        yield f"<title>{_shown(self._about.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"

    def _summary(self) -> Iterator[str]:
        kind, word, sentence = self._verdict()
        yield f'<header><p class="kind">alma-async report</p><h1>{_foreign(self._about.title)}</h1>'
        yield f'<p class="verdict {kind}"><strong>{word}.</strong> {sentence}</p></header>\n'
        yield '<nav aria-label="Sections"><ul>'
        links = {
            "about": "What and when",
            "bill": "Price" if self._about.dry else "Bill",
            "pace": "Pace",
            "ends": "How rows ended",
        }
        links |= {name: caption for name, (caption, _) in _SECTIONS.items() if self._seen[name]}
        yield "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in links.items())
        yield "</ul></nav>\n"
        tiles = list(self._tiles())
        yield f'<section aria-labelledby="rows"><h2 id="rows">{counted(self._rows, "row")}</h2>'
        yield _bar(tiles, self._rows)
        yield '<dl class="tiles">'
        for name, count, kind in tiles:
            yield f'<div class="{kind}"><dt><span class="dot" aria-hidden="true"></span>{name}</dt><dd>{count:,}</dd></div>'
        yield "</dl></section>\n"

    def _tiles(self) -> Iterator[tuple[str, int, str]]:
        will = "to be " if self._about.dry else ""
        for action in ("created", "updated", "deleted", "unchanged", "known"):
            count = sum(self._states[state, action] for state in ("done", "planned"))
            if action == "unchanged":
                count += sum(self._states[state, ""] for state in ("done", "planned"))
            if count:
                changes = action in ("created", "updated", "deleted")
                yield f"{will}{action}" if changes else action, count, action
        for state, name in {
            "review": "for review",
            "rejected": "rejected",
            "duplicate": "duplicate",
            "undone": "taken back",
        }.items():
            if count := self._count(state):
                yield name, count, state
        if self._open:
            yield "not ended", self._open, "pending"

    def _facts(self) -> Iterator[str]:
        facts, runs = self._about.facts, self._measured.runs
        shown = {
            "File": _foreign(_name(facts["file"])) if facts.get("file") else "rows of a program",
            "Collection": _shown(facts.get("collection", "–")),
            "Service": _shown(facts.get("service", "–")),
            "Alma": _shown(facts.get("origin", "–")),
            "Action": _shown(facts.get("action", "–")) + _options(facts),
            "Journal": _foreign(self._about.journal),
            "Begun": _when(runs[0].began) if runs else "not recorded",
            "Last at work": _when(runs[-1].ended) if runs else "not recorded",
            "At work for": self._worked(),
            "Report": f"{_when(self._about.written)} by alma-async {__version__}",
        }
        yield '<section id="about"><h2>What and when</h2><dl class="facts">'
        yield "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in shown.items())
        yield "</dl></section>\n"

    def _worked(self) -> str:
        runs = self._measured.runs
        if not runs:
            return "not recorded"
        more = f", in {self._measured.count:,} runs" if self._measured.count > 1 else ""
        return duration(sum(run.ended - run.began for run in runs)) + more

    def _bill(self) -> Iterator[str]:
        yield f'<section id="bill"><h2>{"Price" if self._about.dry else "Bill"}</h2>'
        if self._about.dry:
            yield from self._price()
        kinds = sorted(self._measured.kinds.items(), key=lambda kind: -kind[1])
        total = sum(count for _, count in kinds)
        if kinds:
            caption = "Calls that the dry run has made" if self._about.dry else "Calls that were made"
            rows = [
                _line(_shown(name), f"{count:,}", f"{count / total:.1%}", numbers=2) for name, count in kinds
            ]
            throttled = sum(sum(run.throttled) for run in self._measured.runs)
            rows.append(_line("<strong>All</strong>", f"<strong>{total:,}</strong>", "", numbers=2))
            each = f"{total / self._rows:.2f} a row; " if self._rows else ""
            yield from _table(
                caption,
                ("Kind", "#Calls", "#Share"),
                rows,
                note=f"{each}{throttled:,} throttled, which are in the figures",
            )
        elif not self._about.dry:
            yield '<p class="note">Not recorded.</p>'
        yield "</section>\n"

    def _price(self) -> Iterator[str]:
        reads, writes = int(self._about.facts.get(CALLS) or 0), self._writes
        if job := self._about.facts.get(JOB_CALLS):
            writes = Writes(job=int(job))
        planned = {
            "GET": reads,
            "POST (creations)": writes.posts,
            "PUT (updates, coverage of creations)": writes.puts,
            "DELETE": writes.deletes,
            "of the set and the job, if it takes five minutes": writes.job,
        }
        calls = sum(planned.values())
        span = f"at least {calls - writes.spared:,} and at most {calls + writes.reads_back:,}, as the first answers will show"
        rows = [_line(name, f"{count:,}", numbers=1) for name, count in planned.items() if count]
        rows.append(_line("<strong>All</strong>", f"<strong>{calls:,}</strong>", numbers=1))
        yield from _table("Calls that the load will make", ("Kind", "#Calls"), rows, note=span)

    def _pace(self) -> Iterator[str]:
        runs = [run for run in self._measured.runs if sum(run.calls)]
        yield '<section id="pace"><h2>Pace and waits</h2>'
        if not runs:
            yield '<p class="note">Not recorded: the journal has no measurements.</p></section>\n'
            return
        yield from _chart(runs)
        waits = Counter[str]()
        for run in runs:
            waits.update({reason: sum(series) for reason, series in run.waits.items()})
        rows = [
            _line(_shown(reason), _WAITS.get(reason, ""), _spark(runs, reason), duration(seconds), numbers=1)
            for reason, seconds in waits.most_common()
            if seconds >= _LEAST
        ]
        if rows:
            note = "the sum over all calls, which wait side by side"
            yield from _table(
                "What calls waited for", ("Reason", "Meaning", "Over time", "#Waited"), rows, note=note
            )
        if len(runs) > 1:
            yield from _table(
                "Runs", ("Began", "Ended", "#At work", "#Calls", "#Throttled"), map(_run_line, runs)
            )
        yield "</section>\n"

    def _ends(self) -> Iterator[str]:
        yield '<section id="ends"><h2>How rows ended</h2>'
        states = Counter[str]()
        for (state, _), count in self._states.items():
            states[state] += count
        rows = [
            _line(state, text, f"{states[state]:,}", numbers=1)
            for state, text in _STATES.items()
            if states[state]
        ]
        yield from _table("Rows by state", ("State", "Meaning", "#Rows"), rows)
        if self._reasons:
            heads = ("Reason", "State", "What to do", "#Rows")
            yield from _table("Rows by reason", heads, self._reason_lines())
        yield "</section>\n"

    def _reason_lines(self) -> Iterator[str]:
        last = ""
        for (code, state), count in sorted(self._reasons.items(), key=lambda one: (one[0][0], -one[1])):
            anchor = f' id="why-{_shown(code)}"' if code != last else ""
            last = code
            yield _line(
                f"<code{anchor}>{_shown(code)}</code>",
                state,
                escape(EndReason.of(code).advice),
                f"{count:,}",
                numbers=1,
            )

    def _foot(self) -> str:
        return (
            "</main>\n<footer><p>This file needs nothing else: it has no script and loads nothing. It shows titles, notes and "
            "addresses of the library; share it accordingly.</p></footer>\n</body>\n</html>\n"
        )


def _section(state: str, action: str) -> str | None:
    if state in (one.value for one in OPEN):
        return "pending"
    if state == State.DONE.value:
        return "changed" if action in ("created", "updated", "deleted") else None
    if state == "planned":
        return "planned" if action in ("created", "updated", "deleted") else None
    return state if state in _SECTIONS else None


def _writes(action: str, after: Mapping[str, str]) -> Writes:
    """What a row of a dry run would send; the same as ``Writes.of`` for entries."""
    if action == "created":
        covered = any(field in COVERAGE for field in after)
        return Writes(posts=1, puts=covered, spared=covered, reads_back=1 + covered)
    if action == "updated":
        return Writes(puts=1, reads_back=1)
    return Writes(deletes=action == "deleted")


def _options(facts: Mapping[str, str]) -> str:
    """What is not as usual."""
    shown = (
        [f"title without inventory: {facts['bib']}"] if facts.get("bib") not in (None, "", "retain") else []
    )
    shown += [f"notes: {facts['notes']}"] if facts.get("notes") not in (None, "", "replace") else []
    shown += ["duplicates allowed"] if facts.get("duplicates") == "allowed" else []
    shown += [f"since {_name(facts['since'])}"] if facts.get("since") else []
    if facts.get("missing"):
        shown += [f"what the list does not name: {facts['missing']}, at most {facts['max_delete']}"]
    if facts.get("via_job"):
        job = JobTemplate.restored(facts["via_job"]).job_id
        shown += [f"by the job {job}: {job_of(facts) or 'not begun'}"]
    shown += [f"not touched: {facts[SURPLUS_KEPT]}"] if facts.get(SURPLUS_KEPT) else []
    return "".join(f"; {_shown(one)}" for one in shown)


# --- drawings

_WIDE: Final = 800.0
_LEFT: Final = 44.0
_TOP: Final = 14.0
_LOW: Final = 190.0
_LEAST: Final = 0.05  # seconds in all of a wait that is worth a line
_WAITS: Final[Mapping[str, str]] = {
    "pace": "its slot in the calls a second",
    "queue": "calls before it",
    "concurrency": "calls in flight to end",
    "hold": "all calls were held, since Alma rejected some as too many a second",
    "quota": "the day’s calls were spent",
    "connect": "a connection",
    "back-off": "the time before it was tried again",
}


def _bar(tiles: Sequence[tuple[str, int, str]], rows: int) -> str:
    """The rows as one bar; the figures beside it say the same."""
    at, parts = 0.0, list[str]()
    for _, count, kind in tiles:
        wide = _WIDE * count / max(rows, 1)
        parts.append(f'<rect class="{kind}" x="{at:.1f}" width="{max(wide - 1, 0.5):.1f}" height="14"/>')
        at += wide
    return f'<svg class="bar" viewBox="0 0 800 14" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def _spans(runs: Sequence[Stretch]) -> Iterator[tuple[Stretch, int, float, float]]:
    """Each sample of each run: run, index, from and to, in seconds of work."""
    at = 0.0
    for run in runs:
        worked = max(run.ended - run.began, run.step / 2)
        for index in range(len(run.calls)):
            begin = index * run.step
            yield run, index, at + begin, at + min(max(begin + run.step / 2, worked), begin + run.step)
        at += max(worked, (len(run.calls) - 0.5) * run.step)


def _chart(runs: Sequence[Stretch]) -> Iterator[str]:
    """Calls a second over the time at work."""
    spans = list(_spans(runs))
    total = max(spans[-1][3], 1e-6)
    rates = [run.calls[index] / max(to - begin, 1e-6) for run, index, begin, to in spans]
    top, step = _scale(max(rates))
    sent, throttled = sum(run.sent for run in runs), sum(sum(run.throttled) for run in runs)
    said = (
        f"{counted(sent, 'call')} in {duration(total)} of work: {sent / total:.1f} a second on average, "
        f"{throttled:,} throttled."
    )

    def x(seconds: float) -> float:
        return _LEFT + (_WIDE - _LEFT - 6) * seconds / total

    def y(rate: float) -> float:
        return _LOW - (_LOW - _TOP) * rate / top

    yield f"<figure><figcaption><strong>Calls a second, by when they ended.</strong> {said}</figcaption>"
    yield f'<svg class="chart" viewBox="0 0 {_WIDE:.0f} 220" role="img" aria-label="Calls a second over the time at work: {said}">'
    for tick in range(round(top / step) + 1):
        at, text = y(tick * step), f"{tick * step:g}"
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDE - 6}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>'
    outline = "".join(
        f"L{x(begin):.1f} {y(rate):.1f}L{x(to):.1f} {y(rate):.1f}"
        for (_, _, begin, to), rate in zip(spans, rates, strict=True)
    )
    yield f'<path class="area" d="M{x(0):.1f} {_LOW}{outline}L{x(total):.1f} {_LOW}Z"/>'
    yield f'<path class="edge" d="M{outline[1:]}"/>'
    for (run, index, begin, to), rate in zip(spans, rates, strict=True):
        if run.throttled[index]:
            mid, high = x((begin + to) / 2), min(y(rate), _LOW - 6) - 3
            yield f'<path class="mark" d="M{mid - 4:.1f} {high - 7:.1f}h8l-4 7z"/>'
    yield from _time_axis(runs, spans, x, total)
    yield "</svg>"
    if throttled:
        yield '<p class="note"><span aria-hidden="true">▼</span> marks where Alma throttled calls.</p>'
    yield "</figure>\n"


def _time_axis(
    runs: Sequence[Stretch],
    spans: Sequence[tuple[Stretch, int, float, float]],
    x: Callable[[float], float],
    total: float,
) -> Iterator[str]:
    """Times of work below, and where the load was resumed."""
    unit, name = next(
        (size, name)
        for size, name in ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
        if total >= 2 * size or size == 1
    )
    top, step = _scale(total / unit)
    for tick in range(round(top / step) + 1):
        if tick * step * unit <= total * 1.001:
            anchor = "start" if tick == 0 else "middle"
            yield f'<text x="{x(tick * step * unit):.1f}" y="208" text-anchor="{anchor}">{tick * step:g} {name}</text>'
    begins = {id(run): begin for run, index, begin, _ in spans if index == 0}
    for run in runs[1:]:
        at = x(begins[id(run)])
        yield f'<line class="resumed" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 6}" y2="{_LOW}"/>'
        if len(runs) <= 6:
            yield f'<text class="resumed" x="{at + 4:.1f}" y="{_TOP - 2:.1f}">resumed</text>'


def _scale(most: float) -> tuple[float, float]:
    """The top of an axis and its step: three to six steps of 1, 2 or 5."""
    size = 10.0 ** len(str(int(most))) / 1000 if most >= 1 else 0.01
    step = next(
        unit * size * factor
        for factor in (1, 10, 100, 1000)
        for unit in (1, 2, 5)
        if unit * size * factor * 6 >= most
    )
    steps = max(int(-(-most // step)), 1)
    return steps * step, step


def _spark(runs: Sequence[Stretch], reason: str) -> str:
    """How many calls waited for this, on average, over the time at work."""
    spans = list(_spans(runs))
    total = max(spans[-1][3], 1e-6)
    means = [
        (
            begin,
            to,
            (run.waits.get(reason, ())[index] if index < len(run.waits.get(reason, ())) else 0.0)
            / max(to - begin, 1e-6),
        )
        for run, index, begin, to in spans
    ]
    most = max(mean for _, _, mean in means) or 1.0
    outline = "".join(
        f"L{160 * begin / total:.1f} {23 - 21 * mean / most:.1f}L{160 * to / total:.1f} {23 - 21 * mean / most:.1f}"
        for begin, to, mean in means
    )
    return (
        f'<svg class="spark" viewBox="0 0 160 24" role="img" aria-label="at most {most:.1f} calls waited at once">'
        f'<path class="area" d="M0 23{outline}L160 23Z"/></svg>'
    )


def _run_line(run: Stretch) -> str:
    return _line(
        _when(run.began),
        _when(run.ended),
        duration(run.ended - run.began),
        f"{run.sent:,}",
        f"{sum(run.throttled):,}",
        numbers=3,
    )


@contextmanager
def html_writer(file: IO[bytes], about: About) -> Iterator[Callable[[Iterable[Record]], None]]:
    """What takes the records, slice by slice; the page is written at the end."""
    with ExitStack() as stack:
        page = _Page(about, stack)
        yield page.add
        page.write(file)
