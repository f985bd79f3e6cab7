"""What all API modules share: a bound request becomes a call, an answer becomes a model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import attrs

from alma_async._core.pager import MOST_ITEMS, PAGE, Pager
from alma_async._core.session import CallOptions, Session
from alma_async._http.codec import Model, structure, structure_each, written
from alma_async._http.messages import Request
from alma_async._http.outcome import Done
from alma_async._http.routes import Route
from alma_async._secret import secretive
from alma_async._text import masked, quoted
from alma_async.alma.models.common import Updatable
from alma_async.errors import BadAnswer, InvalidRequest, OutcomeUnknown
from alma_async.settings import FLAG, instance_of

__all__ = ["Resource", "id_to_update", "listed", "named", "of_kind"]

M = TypeVar("M", bound=Model)


class Resource:
    """One area of the API under one set of options."""

    def __init__(self, session: Session, options: CallOptions) -> None:
        self._session = session
        self._options = options

    async def _call(self, request: Request) -> Done:
        return await self._session.call(localised(request, self._options.language), self._options)

    async def _read(self, request: Request, model: type[M]) -> M:
        return _marked(
            structure((await self._call(request)).data, model, warned=self._session.warned), whole=True
        )

    async def _delete(self, request: Request, *, dry_run: bool) -> Request | None:
        FLAG.require("dry_run", dry_run, InvalidRequest)
        if dry_run:
            return request
        await self._call(request)
        return None

    async def _write(self, request: Request, model: type[M], *, dry_run: bool) -> M | Request:
        FLAG.require("dry_run", dry_run, InvalidRequest)
        return request if dry_run else await self._done(request, model)

    async def _done(self, request: Request, model: type[M]) -> M:
        """Send a write and structure what came back. The write is known to be done then; an
        unreadable answer says so.
        """
        done = await self._call(request)
        try:
            return structure(done.data, model, warned=self._session.warned)
        except BadAnswer as error:
            unreadable = error.message
        known = OutcomeUnknown(
            f"It was done (id {done.data['id']}), but the answer could not be read: {unreadable}",
            status=done.response.status,
            method=request.method,
            path=request.path,
            effect="done",
        )
        known.object_id = masked(str(done.data["id"]))
        try:
            raise known
        finally:
            del known  # its traceback leads here: a cycle

    def _pager(
        self,
        route: Route,
        segments: tuple[str, ...],
        member: str,
        model: type[M],
        *,
        query: Mapping[str, str | None] | None = None,
        offset: int = 0,
        paged: bool = True,
    ) -> Pager[M]:
        """A list whose answer holds its items under ``member``; the member is missing on an empty
        page.
        """

        async def fetch(at: int, limit: int) -> tuple[list[M], int | None]:
            paging = {"limit": limit, "offset": at} if paged else {}
            request = route.bind(*segments, query={**(query or {}), **paging}.items())
            done = await self._call(request)
            try:
                raw = listed(done.data, member, most=MOST_ITEMS * PAGE * (1 if paged else 10))
            except BadAnswer as error:
                error.method, error.path, error.status = request.method, request.path, done.response.status
                error.request_id = done.response.headers.get("x-request-id")
                raise
            read = partial(self._items, raw, model)
            return (read() if len(raw) <= PAGE else await self._session.clock.aside(read)), _total(done.data)

        # A wrong argument is an error when the list is made, not at its first use.
        route.bind(*segments, query=(query or {}).items())
        where = route.bind(*segments)
        return Pager(
            fetch,
            key=lambda item: getattr(item, "id", None),
            offset=offset,
            paged=paged,
            where=(where.method, where.path),
        )

    def _items(self, raw: list[Any], model: type[M]) -> list[M]:
        return [
            _marked(item, whole=False) for item in structure_each(raw, model, warned=self._session.warned)
        ]

    def _encoded(self, name: str, model: Model, kind: type[Model]) -> bytes:
        """The body of a write: everything Alma sent, with what was changed.

        :raises InvalidRequest: for an object of another class, which another call takes.
        """
        of_kind(name, model, kind)
        return written(model)


def localised(request: Request, language: str | None) -> Request:
    """The request with ``lang=``: it changes descriptions and messages, so neither is ever matched
    upon.
    """
    if language is None:
        return request
    return attrs.evolve(request, query=(*request.query, ("lang", language)))


def of_kind(name: str, model: object, kind: type[Model]) -> None:
    """Raise unless an object is of the class that a call takes: another call takes the others.

    :raises InvalidRequest: naming the argument and both classes.
    """
    instance_of(kind, f"{kind.__name__}(...)").require(name, model, InvalidRequest)


def named(name: str | None) -> None:
    """Raise where the name of something new is blank.

    :raises InvalidRequest: where it is.
    """
    if name and not name.strip():
        raise InvalidRequest("The name consists of blanks; give one by which people can identify it.")


def id_to_update(model: Updatable, kind: type[Updatable], name: str, *, replace: bool) -> str:
    """The id of an object that is to be updated.

    :raises InvalidRequest: where it has none, or is of another class; or where the object is not
        whole, unless that is meant (``replace``).
    """
    of_kind(name, model, kind)
    FLAG.require("replace", replace, InvalidRequest)
    if not model.id:
        raise InvalidRequest(f"This {name} has no id: get it first, change it, then update it.")
    if not (replace or model.is_whole):
        lacks = f"it lacks {', '.join(model.missing)}" if model.missing else "it is an item of a list"
        raise InvalidRequest(
            f"This {name} ({model.id}) is not whole ({lacks}), and an update would empty what is missing.",
            advice="Get it first, change what get returned, then update it. "
            "To replace it by this object all the same: replace=True (in the shell: --replace).",
        )
    return model.id


def _marked(model: M, *, whole: bool) -> M:
    """The object, knowing whether it came whole or shortened."""
    if isinstance(model, Updatable):
        model._whole = whole
    return model


@secretive
def listed(data: Any, member: str, *, most: int) -> list[Any]:
    """The items of a list's answer, as they came.

    :raises BadAnswer: where it has neither items nor a total, has them elsewhere, or has more than
        anybody asked for.
    """
    if not isinstance(data, dict):
        raise BadAnswer(f"A list should be an object with {member!r}, but {type(data).__name__} came.")
    raw = data.get(member) or []
    if not raw and (elsewhere := [name for name, value in data.items() if value and isinstance(value, list)]):
        raise BadAnswer(f"The list should be under {member!r}; what came has {', '.join(elsewhere)}.")
    if member not in data and _total(data) is None:
        raise BadAnswer(f"A list should have {member!r} or a total; what came has neither.")
    items = raw if isinstance(raw, list) else [raw]
    if _total(data) is None and not items and data.get("total_record_count") is not None:
        raise BadAnswer(
            f"A list without items has a total that is no number: {quoted(data['total_record_count'])}."
        )
    if len(items) > most:
        raise BadAnswer(f"The answer holds {len(items):,} items; not more than {most:,} are read.")
    return items


def _total(data: Any) -> int | None:
    total = data.get("total_record_count")
    if (isinstance(total, int) and total < 0) or total == "-1":
        raise BadAnswer(f"A list cannot have {total} items in all, as total_record_count says.")
    return int(total) if isinstance(total, int) or (isinstance(total, str) and total.isdecimal()) else None
