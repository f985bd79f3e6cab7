"""Who we are to Polaris: a staff user, an API key or a bearer token, and the one login at a time
that makes calls of it.

Documented: a staff user's password goes out once, as Basic, in a POST without a body; the answer
brings a token and a secret, which every further call carries as ``PAS site:token:secret``, and the
site domain that their URLs name. The same POST checks an API key and brings no token: the key
itself goes with each call. A bearer token has a POST of its own; where that brings no token, it
goes with each call too (inferred).

Three failed logins within five minutes lock an account for a while (documented for PAPI, inferred
here). So one login goes at a time, all calls that waited for it share its result, and a rejected
one is never repeated by the same client: its calls fail at once. A date says when a token ends. One
with an offset is used, less a margin, as a span from the server's own ``Date``; one without is not
reliable, and the 401 that then comes leads to one new login.
"""

from __future__ import annotations

import base64
from copy import copy
from typing import Final, TypeAlias

import anyio
import attrs

from alma_async._clock import Clock
from alma_async._core.session import CallOptions, Session
from alma_async._http.messages import Authorise, Request
from alma_async._http.outcome import Done, server_time
from alma_async._http.routes import Route
from alma_async._secret import Secret, secretive
from alma_async.errors import (
    AlmaError,
    BadAnswer,
    ConfigurationError,
    OutcomeUnknown,
    ServerFault,
    Unauthorized,
)
from alma_async.polaris import routes
from alma_async.polaris.models import LoginAnswer, structure
from alma_async.polaris.routes import Place, at_site

__all__ = ["ApiKey", "Auth", "BearerToken", "StaffLogin", "StaffPassword"]

MARGIN: Final = 60.0  # chosen: seconds before its end from which a token is not used any more


class StaffPassword:
    """A staff user with a network domain. The password is kept only as what is sent, and shown by
    nothing.

    :raises ConfigurationError: where one of them is empty or cannot be sent.
    """

    route: Route = routes.LOGIN
    stands_alone: bool = False

    @secretive
    def __init__(self, domain: str, user: str, password: str) -> None:
        if not all(isinstance(one, str) for one in (domain, user, password)):
            raise ConfigurationError("Domain, user and password of a staff login must be texts.")
        if not domain or not user or not password:
            raise ConfigurationError("A staff login needs domain, user and password.")
        if ":" in f"{domain}{user}" or not f"{domain}{user}{password}".isprintable():
            raise ConfigurationError(
                "No colon may stand in domain or user, and no control character in the password."
            )
        self.domain: str = domain
        self.user: str = user
        # UTF-8 is inferred; nothing is documented for other characters than ASCII.
        self._basic = Secret(base64.b64encode(f"{domain}\\{user}:{password}".encode()).decode())

    def authorise(self) -> dict[str, str]:
        """The documented ``Authorization: Basic``."""
        return {"Authorization": f"Basic {self._basic.reveal()}"}

    def __repr__(self) -> str:
        return f"StaffPassword({getattr(self, 'domain', '')!r}, {getattr(self, 'user', '')!r}, ***)"


class ApiKey:
    """A key of Polaris 7.x, as the header ``x-api-key`` (documented)."""

    route: Route = routes.LOGIN
    stands_alone: bool = True

    @secretive
    def __init__(self, key: str | Secret) -> None:
        self._key = key if isinstance(key, Secret) else Secret(key)

    def authorise(self) -> dict[str, str]:
        """The key as a header."""
        return {"x-api-key": self._key.reveal()}

    def __repr__(self) -> str:
        return "ApiKey(***)"


class BearerToken:
    """A token of the library's own OAuth provider; its ``Upn`` claim reads ``user@domain``
    (documented).
    """

    route: Route = routes.LOGIN_OAUTH
    stands_alone: bool = True

    @secretive
    def __init__(self, token: str | Secret) -> None:
        self._token = token if isinstance(token, Secret) else Secret(token)

    def authorise(self) -> dict[str, str]:
        """The documented ``Authorization: Bearer``."""
        return {"Authorization": f"Bearer {self._token.reveal()}"}

    def __repr__(self) -> str:
        return "BearerToken(***)"


Auth: TypeAlias = StaffPassword | ApiKey | BearerToken


@attrs.frozen(kw_only=True)
class _Held:
    """The credential of one login: how calls carry it, where they go, and when (client's clock) it
    ends.
    """

    authorise: Authorise = attrs.field(repr=False)
    site_domain: str
    ends: float | None = None


class StaffLogin:
    """Logs in when a call needs it, and holds what the login brought. See the module's docstring
    for what it must not do.
    """

    def __init__(self, session: Session, auth: Auth, place: Place, *, options: CallOptions) -> None:
        """:param session: one that needs no login itself."""
        self._session = session
        self._auth = auth
        self._place = place
        self._options = options
        self._one_at_a_time = anyio.Lock()
        self._held: _Held | None = None
        self._failure: AlmaError | None = None
        self._tries = 0

    async def ready(self, request: Request) -> Request:
        """The request under the token, at the site that the login named.

        :raises Unauthorized: where the login was rejected, now or earlier.
        :raises ClientClosed: where the client is closed.
        :raises ServerFault, BadAnswer, NotSent: where it failed otherwise.
        """
        held = self._usable() or await self._log_in_once()
        return attrs.evolve(request, path=at_site(request.path, held.site_domain), authorise=held.authorise)

    def rejected(self, request: Request) -> None:
        """Forget the token that this request went out under, unless there is a newer one."""
        if self._held is not None and self._held.authorise is request.authorise:
            self._held = None

    def _usable(self) -> _Held | None:
        held = self._held
        if held is None or (held.ends is not None and self._session.clock.now() >= held.ends):
            return None
        return held

    async def _log_in_once(self) -> _Held:
        """One login, whoever waits for it; if it fails, it fails for all of them."""
        tries = self._tries
        async with self._one_at_a_time:
            if (held := self._usable()) is not None:
                return held
            waited = self._tries > tries
            if self._failure is not None and (waited or isinstance(self._failure, Unauthorized)):
                raise copy(self._failure)
            self._tries, self._failure = self._tries + 1, None
            try:
                self._held = await self._log_in()
            except AlmaError as error:
                self._failure = copy(error)  # without its traceback, which would keep frames alive
                raise
            return self._held

    async def _log_in(self) -> _Held:
        """A POST that is sent again only where it provably never arrived, as any write: it may have
        been a failed login.
        """
        request = _login(self._auth.route, self._place, self._auth.authorise)
        try:
            # The answer gets no name here: its text would stand in the frames of a traceback.
            held = self._read(await self._session.call(request, self._options))
        except OutcomeUnknown as error:
            lost = error
        else:
            if held is not None:
                return held
            raise BadAnswer(
                "The login's answer cannot be read; nothing else was sent.",
                method=request.method,
                path=request.path,
            )
        self._session.governor.adopt()  # where the client was closed meanwhile, that is what ended it
        raise ServerFault(
            f"The login failed, so nothing else was sent: {lost.message.partition(': ')[2]}",
            **lost.facts(),
        )

    def _read(self, done: Done) -> _Held | None:
        """What the login brought; None where that is unreadable."""
        try:
            answer = structure(done.data, LoginAnswer)
            site = attrs.evolve(self._place, site_domain=answer.site_domain or self._place.site_domain)
            if answer.access_token:
                authorise = _pas(site.site_domain, answer.access_token, answer.access_secret or "")
            elif self._auth.stands_alone:
                authorise = self._auth.authorise
            else:
                return None
        except (BadAnswer, ConfigurationError):
            return None
        return _Held(
            authorise=authorise, site_domain=site.site_domain, ends=_end(answer, done, self._session.clock)
        )


def _login(route: Route, place: Place, authorise: Authorise) -> Request:
    request = route.bind(*place.parts[:2])
    return attrs.evolve(request, authorise=authorise)


def _pas(site_domain: str, token: str, secret: str) -> Authorise:
    held = Secret(f"{site_domain}:{token}:{secret}")
    return lambda: {"Authorization": f"PAS {held.reveal()}"}


def _end(answer: LoginAnswer, done: Done, clock: Clock) -> float | None:
    """When the token is to be replaced; None where the answer does not say, or says that it is
    about to end.
    """
    date = answer.auth_exp_date
    if date is None or date.tzinfo is None:
        return None
    now = server_time(done.response.headers)
    span = date.timestamp() - (clock.wall() if now is None else now) - MARGIN
    return clock.now() + span if span > MARGIN else None
