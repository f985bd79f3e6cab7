"""Sets that are made of something else: a logical set, two sets, an import, a filter.

Decides which members such a set is to have, or why it cannot be made; leaves it to the set to fill with them. Parameters
and codes are documented. Inferred: the sets named must fit the content of the new one; indication rules are given as
predicates; the Network Zone has every title under the id it has here, and takes itemized sets of titles only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from alma_async.sim.codes import Refusal
from alma_async.sim.config import Config
from alma_async.sim.dates import moment_of
from alma_async.sim.fields import Json
from alma_async.sim.job_runs import Runs
from alma_async.sim.set_members import TITLES
from alma_async.sim.set_objects import KeptSet

__all__ = ["Sources"]

Ids = Sequence[str]


def _both(first: Ids, second: Ids) -> Ids:
    wanted = frozenset(second)
    return [one for one in first if one in wanted]


def _either(first: Ids, second: Ids) -> Ids:
    return [*first, *second]


def _only_first(first: Ids, second: Ids) -> Ids:
    unwanted = frozenset(second)
    return [one for one in first if one not in unwanted]


_COMBINE: Mapping[str, Callable[[Ids, Ids], Ids]] = {"AND": _both, "OR": _either, "NOT": _only_first}


@attrs.frozen(kw_only=True)
class Sources:
    """Where a new set gets its members from."""

    sets: Mapping[str, KeptSet]
    ids_of: Callable[[KeptSet], Ids]
    runs: Runs
    rules: Mapping[str, Callable[[str], bool]]
    config: Config
    now: float

    def ids(self, query: Mapping[str, str], content: str) -> Ids | None:
        """The members that the parameters ask for; None if they ask for an empty set."""
        for parameters, source in _SOURCES.items():
            if any(query.get(parameter) for parameter in parameters):
                return source(self, query, content)
        return None

    def named(self, query: Mapping[str, str], sent: Json) -> Json:
        """What was sent, under the name that Alma gives where it gives one: practice, not documented."""
        rule = self.config.combined_names
        if not query.get("combine") or rule == "required" or (rule == "optional" and sent.get("name")):
            return sent
        operator, first, second = query["combine"], query.get("set1", ""), query.get("set2", "")
        return sent | {"name": f"Combined: {first} {operator} {second}, {moment_of(self.now)}"}

    def from_logical_set(self, query: Mapping[str, str], content: str) -> Ids:
        source = self._named(query, "from_logical_set")
        if not source.logical:
            raise Refusal("402264", source.id)
        return self._of(source, content)

    def from_import(self, query: Mapping[str, str], content: str) -> Ids:
        instance_id, population = query.get("job_instance_id"), query.get("population")
        if not (instance_id and population):
            raise Refusal("500127")
        run = self.runs.find(instance_id)
        if run.job.imports is None:
            raise Refusal("402267")
        if population not in run.populations(self.now):
            raise Refusal("402266", population)
        if content not in TITLES:
            raise Refusal("402265", content)
        return run.populations(self.now)[population]

    def combine(self, query: Mapping[str, str], content: str) -> Ids:
        combined = _COMBINE.get(query.get("combine") or "AND")
        if combined is None:
            raise Refusal("60204")
        first, second = self._named(query, "set1"), self._named(query, "set2")
        if not first.content == second.content == content:
            raise Refusal("60205")
        if first.kept["origin"] != second.kept["origin"]:
            raise Refusal("60311")
        return combined(self.ids_of(first), self.ids_of(second))

    def filter_set(self, query: Mapping[str, str], content: str) -> Ids:
        source = self._named(query, "filter_set")
        rule = self.rules.get(query.get("indication_rule", ""))
        if rule is None:
            raise Refusal("402265", "indication_rule")
        return [one for one in self._of(source, content) if rule(one)]

    def network(self, query: Mapping[str, str], content: str) -> Ids:
        if not self.config.in_network:
            raise Refusal("60335")
        source = self._named(query, "nz_set_from_iz_set", missing="60107")
        if source.logical or source.content not in TITLES:
            raise Refusal("60336")
        return self._of(source, content)

    def _named(self, query: Mapping[str, str], parameter: str, missing: str = "402264") -> KeptSet:
        found = self.sets.get(query.get(parameter, ""))
        if found is None:
            raise Refusal(missing, parameter)
        return found

    def _of(self, source: KeptSet, content: str) -> Ids:
        if source.content != content:
            raise Refusal("402265", f"{source.content} is not {content}.")
        return self.ids_of(source)


_SOURCES: Mapping[tuple[str, ...], Callable[[Sources, Mapping[str, str], str], Ids]] = {
    ("from_logical_set",): Sources.from_logical_set,
    ("population", "job_instance_id"): Sources.from_import,
    ("combine", "set1", "set2"): Sources.combine,
    ("filter_set", "indication_rule"): Sources.filter_set,
    ("nz_set_from_iz_set",): Sources.network,
}
