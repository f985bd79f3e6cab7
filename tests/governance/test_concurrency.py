"""How many calls may be in flight."""

from __future__ import annotations

from alma_async._governance.concurrency import Concurrency


def run(
    flow: Concurrency,
    *,
    latency: float,
    seconds: float,
    start: float = 0.0,
    rate: float = 25.0,
    serves: float = 1e9,
    demand: float = 1e9,
) -> float:
    """A server that answers each call after ``latency``, at most ``serves`` a second, under so much demand."""
    now = start
    while now < start + seconds:
        out = min(flow.cap("get"), demand)
        throughput = min(out / latency, rate, serves)
        now += 1 / throughput
        flow.answered("get", latency=max(latency, out / throughput), in_flight=round(out), rate=rate, now=now)
    return now


def test_unknown_kinds_may_use_all_there_is() -> None:
    """Nothing is held back before anything is known."""
    assert Concurrency(64).cap("get") == 64


def test_littles_law_with_room() -> None:
    """The cap settles at one and a half times rate times latency, between four and the most."""
    for latency, expected in ((0.02, 4), (0.4, 15), (10.0, 64)):
        flow = Concurrency(64)
        for answer in range(400):
            flow.answered("get", latency=latency, in_flight=flow.cap("get"), rate=25, now=answer / 25)
        assert flow.cap("get") == expected


def test_a_slower_server_gets_more() -> None:
    """Where longer latency is just a slower server, more calls in flight bring more answers, and the cap follows."""
    flow = Concurrency(64)
    now = run(flow, latency=0.25, seconds=20)
    run(flow, latency=1.0, seconds=60, start=now)
    assert flow.cap("get") >= 30


def test_a_full_server_gets_less() -> None:
    """Where more calls in flight only wait longer, the cap shrinks."""
    flow = Concurrency(64)
    now = run(flow, latency=1.5, seconds=60)
    wide = flow.cap("get")
    assert wide > 40
    for _ in range(200):
        now += 0.2
        flow.answered("get", latency=flow.cap("get") / 5 + 2, in_flight=flow.cap("get"), rate=25, now=now)
    assert flow.cap("get") < wide / 2


def test_an_unused_cap_does_not_grow() -> None:
    """While few calls are out a longer latency does not raise the cap: it would be none when it is needed."""
    flow = Concurrency(64)
    now = run(flow, latency=0.25, seconds=20)
    before = flow.cap("get")
    for answer in range(200):
        flow.answered("get", latency=2.0, in_flight=1, rate=25, now=now + answer / 10)
    assert flow.cap("get") <= before


def test_kinds_are_apart() -> None:
    """A slow kind of call says nothing about the others."""
    flow = Concurrency(64)
    for answer in range(100):
        flow.answered("quick", latency=0.1, in_flight=5, rate=25, now=answer / 25)
        flow.answered("slow", latency=5.0, in_flight=60, rate=25, now=answer / 25)
    assert flow.cap("quick") < 6 < flow.cap("slow")
    assert flow.latency()["slow"] > 4


def test_the_fastest_answers_come_first() -> None:
    """Until slow answers had time to come, nothing is held back: the first ones say too little of how many may be out."""
    flow, latencies = Concurrency(300), [0.3 + 7.7 * n / 100 for n in range(100)]
    for n, latency in enumerate(latencies):  # sent all at once, each is answered after its latency
        flow.answered("post", latency=latency, in_flight=100 - n, rate=25, now=latency)
        assert flow.cap("post") == 300 or latency > 2.0
    for n in range(200):
        flow.answered("post", latency=latencies[n * 37 % 100], in_flight=100, rate=25, now=8 + n / 25)
    assert flow.cap("post") > 100


def test_a_kind_that_begins_little_by_little_is_not_taken_for_a_fast_one() -> None:
    """Where calls begin one after the other, quick ones are answered first too; slow ones after them are no slower server."""
    flow = Concurrency(300)
    calls = [(n / 10, n / 10 + 0.25 + 7.75 * (n * 37 % 100) / 100) for n in range(600)]
    for begun, ended in sorted(calls, key=lambda call: call[1]):
        out = sum(start <= ended <= end for start, end in calls)
        flow.answered("put", latency=ended - begun, in_flight=out, rate=25, now=ended)
        assert flow.cap("put") > 100  # 41 are out on average
