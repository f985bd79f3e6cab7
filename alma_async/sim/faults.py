"""What goes wrong, and when: a plan that is fixed by its seed.

Decides which call meets which fault; leaves the misbehaving itself to the web side. A call's fate depends on the
seed, its method, its path and how often that path was called, never on what ran beside it. The kinds are those that
clients of Alma have met, or that any gateway can produce.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, cast, get_args

import attrs

from alma_async.sim.answers import Style

__all__ = ["NAMED", "Fault", "FaultKind", "FaultPlan", "Faults", "Fired", "Rule"]

FaultKind = Literal[
    "reject",  # the per-second rejection out of the blue
    "daily",  # the daily rejection out of the blue
    "server_error",  # `code` under `status` 500, 502, 503 or 504
    "error",  # an application error `code` under 400
    "error_in_200",  # the error list under 200
    "html_200",  # a page under 200
    "bad_json",  # a body that ends early but is complete by its length
    "nothing",  # `{}` in place of the answer
    "null_list",  # a page of a list without its items, and with their total
    "shifted",  # a page as if `by` items had come before it, or gone
    "redirect",  # 302 to another origin
    "gateway_xml",  # answer as usual, but errors as the gateway's XML
    "wrapped",  # answer as usual, but errors wrapped and single
    "cut_before",  # close, nothing done
    "cut_after",  # do it, then close
    "commit_late",  # close, do it `delay` later
    "truncate",  # half of the body under the full length, then close
    "stall",  # no byte for `delay`; then the answer, or the end if nothing was done
    "slow",  # the body, dribbled over `delay`
]

# What is done although the answer is spoilt, unless the fault says otherwise.
_COMMITS: frozenset[FaultKind] = frozenset(
    {
        "bad_json",
        "nothing",
        "null_list",
        "shifted",
        "gateway_xml",
        "wrapped",
        "cut_after",
        "commit_late",
        "truncate",
        "stall",
        "slow",
    }
)

Form = Literal[Style, "html"]
"""How an error is written: in the two ways a caller can ask for, or as gateways and proxies do whatever was asked."""

# Status and form of an error, unless the fault says otherwise.
_STATUS: Mapping[str, int] = {"error": 400, "error_in_200": 200}
_FORM: Mapping[str, Form] = {"gateway_xml": "gateway_xml", "wrapped": "wrapped"}


def _known(_fault: object, _field: object, kind: str) -> None:
    if kind not in get_args(FaultKind):
        raise ValueError(f"No such fault: {kind!r}. There are {', '.join((*NAMED, *get_args(FaultKind)))}.")


@attrs.frozen
class Fault:
    """One way to go wrong.

    `commit` says whether the call takes effect, `status` and `form` how an error is written; what is not given
    follows from the kind, and the form from what the caller asked for.
    """

    kind: FaultKind = attrs.field(validator=_known)
    commit: bool | None = attrs.field(default=None, kw_only=True)
    status: int = attrs.field(kw_only=True)
    form: Form | None = attrs.field(kw_only=True)
    code: str = attrs.field(default="GENERAL_ERROR", kw_only=True)
    message: str = attrs.field(default="", kw_only=True)
    by: int = attrs.field(default=-1, kw_only=True)
    delay: float = attrs.field(default=5.0, kw_only=True)
    location: str = attrs.field(default="http://127.0.0.1:9", kw_only=True)

    @status.default
    def _usual_status(self) -> int:
        return _STATUS.get(self.kind, 500)

    @form.default
    def _usual_form(self) -> Form | None:
        return _FORM.get(self.kind)

    @property
    def commits(self) -> bool:
        return self.kind in _COMMITS if self.commit is None else self.commit


# Codes that stand in no table of Alma's, under statuses of a server that failed, whatever became of the work.
_STRANGE_5XX = tuple(
    Fault("server_error", status=status, code=code, form=form, commit=commit)
    for status, code in ((502, "UPSTREAM_ERROR"), (503, "599001"), (504, "GATEWAY_TIMEOUT"))
    for form in ("json", "gateway_xml")
    for commit in (False, True)
)

NAMED: Mapping[str, tuple[Fault, ...]] = {
    # The gateway gave up waiting for an answer; the first is what Alma's users report, the second what it may also mean.
    "routing_error": (
        Fault("server_error", status=503, code="ROUTING_ERROR", form="gateway_xml", commit=True),
    ),
    "routing_error_before": (
        Fault("server_error", status=503, code="ROUTING_ERROR", form="gateway_xml", commit=False),
    ),
    "strange_5xx": _STRANGE_5XX,
    # Recorded rejections with codes that the documents of their calls do not list: nothing was changed.
    "strange_4xx": tuple(
        Fault("error", code=code, form=form)
        for code in ("401664", "401604", "40166415", "401688", "402265", "499001")
        for form in ("json", "wrapped")
    ),
    # Somebody removes or adds something before the page that is being read.
    "shifting": (Fault("shifted", by=-1), Fault("shifted", by=1)),
    # A body that could not be read.
    "bad_request": (
        Fault(
            "error",
            code="BAD_REQUEST",
            form="wrapped",
            message='Cannot read value "x" as a number (through reference chain: Rest["a"]->Rest["b"])',
        ),
    ),
    # Codes of an operation that failed on its way, perhaps after a part of it or all.
    "failed": tuple(
        Fault("error", code=code, commit=commit)
        for code in ("60163", "60165", "402119", "40166408")
        for commit in (False, True)
    ),
}
"""Faults of Alma by names of their own: the forms of each share its chance."""


def _fault(kind: FaultKind | Fault) -> Fault:
    return kind if isinstance(kind, Fault) else Fault(kind)


@attrs.frozen
class Rule:
    """A scripted fault: from the `nth` matching call on, so many `times` in a row (None: for ever)."""

    fault: Fault = attrs.field(converter=_fault)
    method: str | None = attrs.field(default=None, kw_only=True)
    path: str = attrs.field(default="", kw_only=True)
    nth: int = attrs.field(default=1, kw_only=True)
    times: int | None = attrs.field(default=1, kw_only=True)

    def matches(self, method: str, path: str) -> bool:
        return self.method in (None, method) and re.search(self.path, path) is not None

    def due(self, count: int) -> bool:
        return count >= self.nth and (self.times is None or count < self.nth + self.times)


def _chances(chances: Mapping[FaultKind | Fault, float]) -> tuple[tuple[Fault, float], ...]:
    return tuple((_fault(key), share) for key, share in chances.items())


def _rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(rules)


@attrs.frozen
class FaultPlan:
    """Chances per fault (or kind), and scripted rules, of which the first that is due wins over chance."""

    chances: tuple[tuple[Fault, float], ...] = attrs.field(default={}, converter=_chances)
    rules: tuple[Rule, ...] = attrs.field(default=(), converter=_rules, kw_only=True)
    seed: int = attrs.field(default=0, kw_only=True)

    @classmethod
    def named(cls, shares: Mapping[str, float], *, seed: int = 0) -> FaultPlan:
        """Chances by name: of ``NAMED``, or a kind in its plain form.

        :raises ValueError: for a name that is neither, and for chances beyond certainty.
        """
        chances: dict[FaultKind | Fault, float] = {}
        for name, share in shares.items():
            faults = NAMED.get(name) or (Fault(cast("FaultKind", name)),)
            chances |= dict.fromkeys(faults, share / len(faults))
        return cls(chances, seed=seed)

    @chances.validator
    def _at_most_one(self, _field: object, chances: tuple[tuple[Fault, float], ...]) -> None:
        if sum(share for _, share in chances) > 1.0:
            raise ValueError("The chances of all faults together exceed 1.")


@attrs.frozen
class Fired:
    """A fault that struck."""

    at: float
    method: str
    path: str
    fault: Fault


@attrs.define
class Faults:
    """A plan at work: what was called how often, and what struck."""

    plan: FaultPlan = attrs.field(factory=FaultPlan)
    fired: list[Fired] = attrs.field(factory=list, init=False)
    _matched: Counter[int] = attrs.field(factory=Counter, init=False)
    _called: Counter[tuple[str, str]] = attrs.field(factory=Counter, init=False)
    _followed: FaultPlan = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._followed = self.plan

    def reset(self) -> None:
        """Forget what was called and what struck."""
        self.fired.clear()
        self._matched.clear()
        self._called.clear()

    def follow(self, plan: FaultPlan) -> None:
        """Go on by the plan of a world's switches, if it is another one than before; its rules count from then on."""
        if plan != self._followed:
            self.plan = self._followed = plan
            self._matched.clear()

    def draw(self, now: float, *, method: str, path: str) -> Fault | None:
        """The fault that this call meets, if any."""
        fault = self._scripted(method, path) or self._by_chance(method, path)
        if fault is not None:
            self.fired.append(Fired(now, method, path, fault))
        return fault

    def _scripted(self, method: str, path: str) -> Fault | None:
        found = None
        for index, rule in enumerate(self.plan.rules):
            if rule.matches(method, path):
                self._matched[index] += 1
                if found is None and rule.due(self._matched[index]):
                    found = rule.fault
        return found

    def _by_chance(self, method: str, path: str) -> Fault | None:
        if not self.plan.chances:
            return None
        self._called[method, path] += 1
        point = random.Random(f"{self.plan.seed} {method} {path} {self._called[method, path]}").random()
        for fault, share in self.plan.chances:
            point -= share
            if point < 0.0:
                return fault
        return None
