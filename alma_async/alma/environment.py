"""Which environment a key is of, the sandbox or production, and that a client works in the one that
is expected.

Asked once of a client, before its first call, and then known. ``/conf/general`` names institution
and ``environment_type`` (documented; its values are not: a premium sandbox is taken for a sandbox).
Where that cannot be read, nothing else is sent.
"""

from __future__ import annotations

from typing import Any

import anyio

from alma_async._core.session import CallOptions, Session
from alma_async._text import quoted
from alma_async.alma import routes
from alma_async.errors import DeadlineExceeded, Unauthorized, UnexpectedEnvironment
from alma_async.settings import Environment

__all__ = ["ExpectedEnvironment", "environment_of", "require_environment"]


def environment_of(general: Any) -> tuple[str, str]:
    """Institution and kind of environment in lower case, as an answer of ``/conf/general`` names
    them; "" where it does not.
    """
    match general:
        case {"institution": {"value": str(code)}, "environment_type": str(kind)}:
            return code, kind.strip().lower()
    return "", ""


def require_environment(expected: Environment, general: Any) -> None:
    """Raise unless this answer of ``/conf/general`` is of the environment that is expected.

    :raises UnexpectedEnvironment: where it is of another one.
    """
    if fault := _fault(expected, general):
        raise UnexpectedEnvironment(fault)


def _fault(expected: Environment, general: Any) -> str:
    """Why it is not the one; "" where it is."""
    institution, kind = environment_of(general)
    if expected in kind:
        return ""
    if not institution:
        return (
            "The answer to the question which environment this is does not name both institution and type, "
            f"and {expected} is expected. Nothing was sent."
        )
    here = (
        f"the {kind} environment of {institution}"
        if kind.isalnum()
        else f"an environment of type {quoted(kind)}"
    )
    return f"This is {here}, and {expected} is expected. Nothing was sent."


class ExpectedEnvironment:
    """The precondition that the key is of the expected environment, for all calls of a client and
    its copies.
    """

    def __init__(self, expected: Environment, session: Session) -> None:
        self._expected = expected
        self._session = session
        self._asking = anyio.Lock()
        self._fault: str | None = None  # why it is not the one; "" where it is; None until that is known

    async def hold(self, options: CallOptions, deadline: float | None) -> None:
        """See ``session.Precondition``."""
        if self._fault is None:
            await self._find_out(options, deadline)
        if self._fault:
            raise UnexpectedEnvironment(self._fault)

    async def _find_out(self, options: CallOptions, deadline: float | None) -> None:
        """Ask, unless another call did meanwhile."""
        with anyio.move_on_after(None if deadline is None else deadline - self._session.clock.now()):
            async with self._asking:
                if self._fault is None:
                    self._fault = await self._ask(options, deadline)
            return
        raise DeadlineExceeded("The deadline passed before Alma said which environment this is.")

    async def _ask(self, options: CallOptions, deadline: float | None) -> str:
        """Why it is not the one; "" where it is."""
        left = None if deadline is None else max(deadline - self._session.clock.now(), 0.001)
        try:
            done = await self._session.call(
                routes.GENERAL.bind(), options.changed(witness=None, deadline=left)
            )
        except Unauthorized as error:
            return (
                f"Whether this is the {self._expected} environment cannot be found out: the key may not read the "
                f"configuration ({error.message})."
            )
        return _fault(self._expected, done.data)
