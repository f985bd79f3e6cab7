"""What follows the end of a job, over all machines: one task, queued once.

Decides nothing of jobs: the ledger knows which ran. Here stands which task was named to follow a
run; whoever learns of the end first (a webhook, a poll, on whatever machine) queues it, in the
transaction that marks the run as ended. Later news of the same end changes nothing. A task that is
named only later is queued too, at once where the run has ended; a second one is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from alma_async._guard.submission import digest_of, require_same
from alma_async.alma.job_port import texts
from alma_async.alma.models.jobs import JobInstance
from alma_async.errors import InvalidRequest
from alma_async.store import Store, institution_of, translated

if TYPE_CHECKING:
    from alma_async._storage.postgres import Link

__all__ = ["Continuations", "Then"]

T = TypeVar("T")

_ITS: Final = "WHERE institution = %s AND job_id = %s AND key = %s"
_FIND: Final = (
    f"SELECT ended, instance_id, parameters, task, arguments FROM alma_async.continuation {_ITS} FOR UPDATE"  # noqa: S608 - our own words
)
_NAME: Final = f"UPDATE alma_async.continuation SET task = %s, arguments = %s {_ITS}"  # noqa: S608 - our own words
_WITHIN: Final = 10.0  # chosen: seconds for one question to the store


@attrs.frozen(kw_only=True)
class Then:
    """The task that follows the end of a job: its name, and arguments beside ``job`` (what became of the run)."""

    task: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict)


Queue = Callable[..., Any]
"""Queues a task within the transaction of a link: ``engine.defer``, or another engine's."""


class Continuations:
    """Those of one institution, in its store.

    :param scope: of the client
    :param queue: how a task is queued within a transaction
    """

    def __init__(self, store: Store, scope: str, queue: Queue) -> None:
        self._store, self._queue = store, queue
        self._institution = institution_of(scope)

    async def ended(
        self, job_id: str, key: str, parameters: Mapping[str, str | int], *, then: Then | None = None
    ) -> dict[str, Any] | None:
        """What became of the run of this job that was submitted under this key; None where that is not known.

        :param then: the task that follows it, where none was named before
        :raises InvalidRequest: where it was given other parameters, or another task follows it.
        """
        its = self._institution, job_id, key

        def work(link: Link) -> dict[str, Any] | None:
            with link.transaction():
                rows = link.execute(_FIND, its).fetchall()
                if not rows:
                    return None
                ended: dict[str, Any] | None
                ended, instance_id, before, task, arguments = rows[0]
                run = f"{instance_id} of job {job_id}"
                require_same(run, before, digest_of(texts(parameters)))
                if then is None:
                    return ended
                given = json.dumps(dict(then.arguments))
                if task is None:
                    link.execute(_NAME, (then.task, given, *its))
                    if ended is not None:
                        self._follow(link, then.task, then.arguments, ended, key)
                elif (task, arguments) != (then.task, json.loads(given)):
                    raise InvalidRequest(
                        f"The key was used before, for run {run}, which the task {task!r} follows, with its own arguments.",
                        advice="Leave then as it was; one task follows a run.",
                    )
                return ended

        return await self._do(work)

    async def note(
        self,
        job_id: str,
        key: str,
        instance_id: str,
        *,
        parameters: Mapping[str, str | int],
        then: Then | None = None,
    ) -> None:
        """Write down what follows the run that this key started; where that stands, it stays."""
        task, arguments = (then.task, dict(then.arguments)) if then else (None, {})
        given = digest_of(texts(parameters))
        values = (self._institution, job_id, key, instance_id, given, task, json.dumps(arguments))
        await self._do(
            lambda link: link.execute(
                "INSERT INTO alma_async.continuation (institution, job_id, key, instance_id, parameters, task, arguments) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                values,
            )
        )

    async def end(self, instance: JobInstance) -> int:
        """The run has ended: queue what follows it, once; how many tasks that were."""
        said = {"job_id": instance.job_id, "instance_id": instance.id, "status": instance.status.value}

        def work(link: Link) -> int:
            with link.transaction():
                rows = link.execute(
                    "UPDATE alma_async.continuation SET ended = %s WHERE institution = %s AND instance_id = %s AND ended IS NULL "
                    "RETURNING key, task, arguments",
                    (json.dumps(said), self._institution, instance.id),
                ).fetchall()
                named = [(key, task, arguments) for key, task, arguments in rows if task is not None]
                for key, task, arguments in named:
                    self._follow(link, task, arguments, said, key)
                return len(named)

        return await self._do(work)

    def _follow(
        self, link: Link, task: str, arguments: Mapping[str, Any], said: Mapping[str, Any], key: str
    ) -> None:
        self._queue(link, task, **{**arguments, "job": {**said, "key": key}})

    async def _do(self, work: Callable[[Link], T]) -> T:
        with translated(self._store):
            return await self._store.shared.do(work, within=_WITHIN, whole=True)
