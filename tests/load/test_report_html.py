"""The report as a page: it stands alone, harms nobody who opens it, and says what the other reports say."""

from __future__ import annotations

import csv
import json
import re
import tracemalloc
from base64 import b64encode
from collections import Counter
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async import sim
from alma_async._secret import Secret
from alma_async.load import Load, LoadOptions
from alma_async.load.entries import Difference, Entry, Source, State
from alma_async.load.facts import MEASURED
from alma_async.load.journal import Journals
from alma_async.load.measured import Measured
from alma_async.load.reasons import EndReason
from alma_async.load.report import record, write_report
from alma_async.load.report_html import SHOWN, About, html_writer
from alma_async.load.report_style import STYLE
from tests.conftest import institution
from tests.load.test_actions import hold

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
VOID = {"meta", "br", "rect", "line", "path"}


class Page(HTMLParser):
    """A page as a reader's program takes it apart; one whose elements do not close is none."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.stack[-1] if self.stack else "", data))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(data for tag, data in self.texts if tag != "style")


def entry(n, state=State.REVIEW, **facts):
    facts = {"reason": EndReason.AMBIGUOUS.code, "message": "Several.", "mms_id": "991"} | facts
    return Entry(n=n, line=n + 1, state=state, **facts)


def page_of(entries, *, facts=None, planned=False):
    file = BytesIO()
    about = About(
        journal="a.load", facts={"file": "/home/jo/list.csv", **(facts or {})}, written=1_790_000_000.0
    )
    with html_writer(file, about) as write:
        write([record(one, planned=planned) for one in entries])
    return file.getvalue().decode()


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>*{display:none}",
    "]]><!--",
    "&lt;b&gt; &amp;",
    "\u202egnp.exe",
    "\u2066\u2069\u200f\u061c",
    "a\x00b\x1b[2J\r\n\x85",
    "\ud800",
    "javascript:alert(1)",
    "'onload='alert(1)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_text(text):
    """Wherever it stands, it makes no element and no attribute, steers no direction, and its letters are there to be read."""
    source = Source(lines=(2, 3), title=text, identifiers=(text,), warnings=(text,))
    hostile = entry(
        1,
        message=text,
        source=source,
        portfolio_id=text,
        mms_id=text,
        code=text,
        tracking_id=text,
        differences=(Difference(text, text, text),),
    )
    names = ("file", "collection", "service", "origin", "action", "bib", "since", "duplicates", "notes")
    facts = dict.fromkeys(names, text)
    plain, page = (
        page_of([entry(1, differences=(Difference("a", "b", "c"),))]),
        page_of([hostile], facts=facts),
    )
    known = {(tag, *sorted(attrs)) for tag, attrs in Page(plain).tags}
    assert {(tag, *sorted(attrs)) for tag, attrs in Page(page).tags} - known <= {
        ("bdi",),
        ("br",),
        ("span", "class"),
    }
    steering = r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c\ud800-\udfff]"
    assert not re.search(steering, page)
    assert "".join(c for c in text if c.isalnum() and c.isascii()) in re.sub(
        r"\\u[0-9a-f]{4}|[^a-zA-Z0-9]", "", Page(page).text
    )


@given(st.text())
def test_any_text_is_text(text):
    """The page closes all that it opens, whatever a title is."""
    plain = Page(page_of([entry(1, source=Source(title="a"), message="a")]))
    page = Page(page_of([entry(1, source=Source(title=text), message=text)]))
    assert Counter(tag for tag, _ in page.tags) - Counter(tag for tag, _ in plain.tags) == Counter()


def test_the_page_stands_alone():
    """No script, no address of anything, no inline style; a policy that allows nothing but its own style sheet."""
    text = page_of([entry(1), entry(2, State.REJECTED)], facts={MEASURED: measured()})
    page = Page(text)
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = next(
        meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert f"<style>{STYLE}</style>" in text
    for tag, attrs in page.tags:
        assert tag not in {
            "script",
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "use",
            "image",
            "animate",
        }
        assert not {"src", "srcset", "style", "xlink:href", "action", "data"} & attrs.keys()
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("href", "#").startswith("#")
    assert "url(" not in text
    assert "@import" not in text


def measured(runs=2, seconds=300):
    """The fact of a load that was resumed."""
    found = Measured()
    for run in range(runs):
        stretch = found.begin(1_790_000_000.0 + 10_000 * run)
        for second in range(seconds):
            stretch.called(second, throttled=second == 7)
            stretch.waited(second, 1.0, {"pace": 0.5, "hold": 3.0 if second == 9 else 0.0})
            found.finished("POST portfolio", 1)
    return found.written()


def test_who_cannot_see_it_can_read_it():
    """A language, headings in order, captions and scopes, a text for each drawing, anchors that are there."""
    entries = [entry(n, state) for n, state in enumerate(State, 1)]
    text = page_of(entries, facts={MEASURED: measured()})
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert not {f"h{n}" for n in range(3, 7)} & {tag for tag, _ in page.tags}
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    assert all(
        svg.get("aria-hidden") == "true" or (svg["role"], bool(svg["aria-label"])) == ("img", True)
        for svg in page.all("svg")
    )
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_stands_out_in_light_and_dark():
    """4.5 to 1 for each colour of text on each ground that it stands on (WCAG 2.2, AA); the schemes have the same names."""
    light, dark, printed = (
        dict(re.findall(r"--(\w+):(#\w+)", part)) for part in re.findall(r":root\{([^}]*)\}", STYLE)
    )
    assert light.keys() == dark.keys() == printed.keys()
    for scheme in (light, dark, printed):
        for text, ground in [
            *((text, ground) for text in ("text", "faint", "link") for ground in ("ground", "card")),
            ("text", "plainbg"),
            ("text", "goodbg"),
            ("text", "warnbg"),
            ("link", "plainbg"),
        ]:
            high, low = sorted((luminance(scheme[text]), luminance(scheme[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def test_who_needs_a_person_is_shown_in_full_and_the_rest_is_cut_and_said():
    """All rows for review and rejected ones; of others the first, with how many there are."""
    many = SHOWN + 50
    entries = [
        *(entry(n, State.REVIEW) for n in range(many)),
        *(entry(n, State.REJECTED) for n in range(many)),
        *(
            entry(n, State.DONE, action="updated", reason=None, differences=(Difference("a", "", "b"),))
            for n in range(many)
        ),
        *(entry(n, State.DONE, action="unchanged", reason=None) for n in range(many)),
    ]
    text = page_of(entries)
    for section, shown in {"review": many, "rejected": many, "changed": SHOWN}.items():
        body = text.split(f'<section id="{section}">')[1].split("</section>")[0]
        assert body.count("<tr>") - 1 == shown
        assert ("are shown" in body) == (shown < many)
    assert f"The first {SHOWN:,} of {many:,} are shown" in text


def test_no_secret_is_on_it():
    """Neither one of this process, nor what signs a URL, nor a password in one."""
    secret = Secret("sim-canary-99887766")
    url = "https://jo:hunter22@x.example/a?X-Amz-Signature=deadbeef01&page=2&token=beefdead02#x"
    text = page_of(
        [
            entry(
                1, message=f"key {secret.reveal()}", differences=(Difference("url", url, f"{url}&sig=abc03"),)
            )
        ],
        facts={"origin": f"https://{secret.reveal()}.example"},
    )
    for one in (secret.reveal(), "deadbeef01", "beefdead02", "abc03", "hunter22", "/home/jo"):
        assert one not in text
    assert "page=2" in text


def test_a_long_text_is_cut_and_said():
    """A megabyte in one field is no megabyte on the page."""
    text = page_of([entry(1, message="x" * 1_000_000)])
    assert len(text) < 40_000
    assert "998,000 characters more" in text


def test_memory_stays_flat():
    """50,000 rows, all for review, in a few megabytes."""
    about, rows = About(journal="a", facts={}, written=0.0), 50_000

    class Sink(BytesIO):
        size = 0

        def write(self, data):
            self.size += len(data)
            return len(data)

    sink = Sink()
    tracemalloc.start()
    with html_writer(sink, about) as write:
        for n in range(0, rows, 1000):
            write([record(entry(n + i, source=Source(title="A title " * 10))) for i in range(1000)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sink.size > 10_000_000
    assert peak < 8_000_000


async def test_it_says_what_the_other_reports_say(tmp_path):
    """A load that was stopped and resumed: states, reasons and calls are those of the other reports and of the server."""
    async with institution(latency=0.4) as (server, alma):
        hold(server, 40)
        rows = [
            *(
                {"mms_id": f"99{n:06}", "public_note": "<new>", "url": f"https://journals.example/{n}"}
                for n in range(80)
            ),
            {"mms_id": "no id"},
            {"mms_id": "99000001", "public_note": "other", "url": "https://journals.example/1"},
        ]
        load = Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / "a.load",
            options=LoadOptions(quarantine=30.0),
        )

        def halfway(progress):
            if progress.done > 30:
                load.stop()

        assert (await load.run(rows, on_progress=halfway)).pending
        await alma.sleep(600)
        report = await Load.open(tmp_path / "a.load", alma).run()
        async with Journals(alma.clock).opened(tmp_path / "a.load", reading=True) as journal:
            for kind in ("html", "csv", "jsonl"):
                assert await write_report(alma.clock, journal, tmp_path / f"a.{kind}") == 82
            kept = Measured.read((await journal.meta())[MEASURED])
        text = (tmp_path / "a.html").read_text(encoding="utf-8")
        with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
            listed = list(csv.DictReader(file))
        lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
        states = Counter(row["state"] for row in listed)
        assert states == Counter(row["state"] for row in lines)
        for state, count in states.items():
            assert f'<tr><th scope="row">{state}</th>' in text
            assert re.search(rf'>{state}</th><td>[^<]*</td><td class="?num"?>{count}</td>', text)
        for (reason, state), count in Counter(
            (row["reason"], row["state"]) for row in listed if row["reason"]
        ).items():
            assert re.search(
                rf'{reason}</code></th><td>{state}</td><td>[^<]*</td><td class="?num"?>{count}</td>', text
            )
        assert (kept.count, sum(run.sent for run in kept.runs)) == (2, len(server.world.tally.received))
        assert sum(kept.kinds.values()) == len(server.world.tally.received)
        assert f"<strong>{len(server.world.tally.received):,}</strong>" in text
        assert sum(kept.runs[1].calls) == report.calls
        assert kept.runs[1].began - kept.runs[0].ended >= 600
        assert "&lt;new&gt;" in text
        assert 'class="resumed"' in text


async def test_a_dry_run_has_a_price(tmp_path):
    """The figures of ``Plan.price``; nothing is said to be done."""
    async with institution() as (server, alma):
        hold(server, 10)
        rows = [{"mms_id": f"99{n:06}", "public_note": "new", "coverage_from": "1990"} for n in range(20)]
        load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "a.load")
        price = (await load.plan(rows, journal=tmp_path / "plan.load")).price
        async with Journals(alma.clock).opened(tmp_path / "plan.load", reading=True) as journal:
            await write_report(alma.clock, journal, tmp_path / "a.html")
        text = (tmp_path / "a.html").read_text(encoding="utf-8")
        assert f"<strong>{price.calls:,}</strong>" in text
        assert f"at least {price.least:,} and at most {price.most:,}" in text
        assert "Nothing was changed." in text
        assert "to be created" in text


def test_what_cannot_be_read_of_the_measurements_is_left_out():
    """A fact of another form, or none, costs the drawing alone."""
    for fact in (None, "", "[]", "{", '{"runs": [{"x": 1}]}', '{"runs": 5}'):
        assert "Not recorded" in page_of([entry(1)], facts={} if fact is None else {MEASURED: fact})
