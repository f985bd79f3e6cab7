"""What is known of an institution's Alma that no document says: how it answers writes, whether a
create takes coverage, what a PUT makes of what it leaves out and of empty values.

Each real load observes the first two in its answers; what was alike in all of them is kept for the
price of the next one. ``probe`` finds out all of it. It is kept in a small file for each key or
institution, which is sealed, owned by this user alone and names its institution: a file that is not
just what was written is not used. What is kept decides by which value a load empties a field
(``clearing``), and no other write: what a row holds is read, or shown by an answer, in every load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs
from attrs.validators import deep_mapping, in_, instance_of, matches_re, optional

from alma_async._text import counted
from alma_async.alma.models.electronic import Portfolio
from alma_async.load.clearing import Effect, Effects, FieldKind, Way
from alma_async.load.kept import KeptFile

__all__ = ["FactsFile", "InstitutionFacts", "Observed", "shown_by"]

Shown: TypeAlias = Literal["whole", "without_coverage", "short"]
"""What an answer to a write shows: the whole object, all but its coverage, or less."""

_WAYS_IN_WORDS: Final[Mapping[Way, str]] = {
    "null": "null",
    "blank": '""',
    "empty_list": "[]",
    "left_out": "leaving out",
}
_EFFECTS_IN_WORDS: Final[Mapping[Effect, str]] = {
    "cleared": "clears",
    "kept": "does not clear",
    "rejected": "is rejected",
}
_IN_WORDS: Final = {"whole": "whole", "without_coverage": "without coverage", "short": "short"}


Put: TypeAlias = Literal["merge", "replace"]
_SHOWN: Final = optional(in_(get_args(Shown)))
_COUNT: Final = optional(instance_of(int))
_OBJECT: Final = instance_of(dict)
_EFFECTS: Final = deep_mapping(
    in_(get_args(FieldKind)), deep_mapping(in_(get_args(Way)), in_(get_args(Effect)), _OBJECT), _OBJECT
)


@attrs.frozen(kw_only=True)
class InstitutionFacts:
    """What is known of an institution's Alma that no document says; None where it is not known, or
    was not the same in all answers.

    ``post_answer`` and ``put_answer`` say what answers to creates and updates show of a portfolio:
    the whole, all but its coverage, or less. ``post_coverage``: a create takes coverage.
    """

    post_answer: Shown | None = attrs.field(default=None, validator=_SHOWN)
    post_coverage: bool | None = attrs.field(default=None, validator=optional(instance_of(bool)))
    put_answer: Shown | None = attrs.field(default=None, validator=_SHOWN)
    put: Put | None = attrs.field(default=None, validator=optional(in_(get_args(Put))))
    """What a PUT does with members that it leaves out."""
    clears: Effects = attrs.field(factory=dict, validator=_EFFECTS)
    """What each way to empty a text, a date, a coverage does."""
    bibs_asked: int | None = attrs.field(default=None, validator=_COUNT)
    """For how many records a call was made; how many it answered (none where it was
    rejected), and in how many seconds.
    """
    bibs_answered: int | None = attrs.field(default=None, validator=_COUNT)
    bibs_seconds: float | None = attrs.field(default=None, validator=optional(instance_of((int, float))))
    probed: str | None = attrs.field(default=None, validator=optional(matches_re(r"\d{4}-\d\d-\d\d")))
    """The day (UTC) on which ``probe`` has found it out."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> InstitutionFacts:
        """What is known by these facts, each under its name; others are passed over.

        :raises ValueError, TypeError: where one is none.
        """
        names = [field.name for field in attrs.fields(cls)]
        return cls(**{name: facts[name] for name in names if name in facts})

    def over(self, before: InstitutionFacts) -> InstitutionFacts:
        """These facts, and those of before that are not among them."""
        new = {name: value for name, value in attrs.asdict(self).items() if value not in (None, {})}
        return attrs.evolve(before, **new)

    def __str__(self) -> str:
        return ", ".join(self.lines())

    def lines(self) -> list[str]:
        """What is known, in words."""
        said = list[str]()
        if self.post_coverage is not None:
            said.append(f"a create {'takes' if self.post_coverage else 'ignores'} coverage")
        if self.post_answer:
            said.append(f"its answer is {_IN_WORDS[self.post_answer]}")
        if self.put_answer:
            said.append(f"that of an update is {_IN_WORDS[self.put_answer]}")
        if self.put:
            said.append(f"an update {'keeps' if self.put == 'merge' else 'clears'} what it leaves out")
        said.extend(f"{kind}: {_listed(ways)}" for kind, ways in self.clears.items() if ways)
        if self.bibs_asked is not None and self.bibs_seconds is not None:
            answers = f"answers {self.bibs_answered} in {self.bibs_seconds:.1f} s"
            said.append(
                f"a call for {counted(self.bibs_asked, 'record')} {answers if self.bibs_answered else 'is rejected'}"
            )
        return said

    def completions(self) -> list[InstitutionFacts]:
        """All that may be so."""
        may_be = (_either(self.post_answer, "whole", "short"), _either(self.post_coverage, False, True),
                  _either(self.put_answer, "whole", "short"))  # fmt: skip
        return [
            attrs.evolve(self, post_answer=post, post_coverage=takes, put_answer=put)
            for post, takes, put in product(*may_be)
        ]


def _listed(ways: Mapping[Way, Effect]) -> str:
    """Each way to empty a field, and what it does."""
    return ", ".join(f"{_WAYS_IN_WORDS[way]} {_EFFECTS_IN_WORDS[effect]}" for way, effect in ways.items())


def _either(known: Any, usual: Any, other: Any) -> tuple[Any, ...]:
    return (usual, other) if known is None else (known,)


def shown_by(answer: Portfolio) -> Shown:
    """How much of its portfolio an answer to a write shows."""
    if answer.is_whole:
        return "whole"
    return "without_coverage" if answer.missing == ("coverage_details",) else "short"


@attrs.define
class Observed:
    """What one run has seen."""

    _seen: dict[str, Any] = attrs.field(factory=dict)

    def add(self, **facts: Any) -> None:
        """Add what one answer has shown; what contradicts an earlier one is not known."""
        for name, value in facts.items():
            self._seen[name] = value if self._seen.get(name, value) == value else None

    def over(self, known: InstitutionFacts) -> InstitutionFacts:
        """What is known after it."""
        return attrs.evolve(known, **self._seen)


@attrs.frozen
class FactsFile:
    """The file of one institution. All methods block, and none fails: what cannot be read
    or written is done without.
    """

    file: KeptFile

    @classmethod
    def of(cls, scope: str) -> FactsFile:
        """The one of this scope (a client's)."""
        return cls(KeptFile.named("institutions", scope))

    def read(self) -> InstitutionFacts:
        """What it holds; nothing, where it is not just what was written."""
        return self.file.read(InstitutionFacts.of, InstitutionFacts())

    def learn(self, change: Callable[[InstitutionFacts], InstitutionFacts]) -> None:
        """Keep what is known after this change."""
        before = self.read()
        if (after := change(before)) != before:
            self.file.write(attrs.asdict(after))
