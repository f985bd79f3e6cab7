"""Through a proxy: a tunnel that shows it nothing of ours, chosen as aiohttp chooses it, or refused with a sentence."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager

import aiohttp
import pytest

from alma_async import AlmaClient, ConfigurationError, LocalBudget, NotSent, sim
from alma_async.polaris import PolarisClient, StaffPassword
from tests.conftest import KEY

C = sim.DEMO_COLLECTION
HOST = "alma.test"  # known to the proxy alone, so that a call that goes past it cannot succeed
PASSWORD = "pr0xy-canary-55"

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """What a server of that name shows, and what trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
         key, "-out", cert, "-days", "2", "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=cert)


class Net:
    """An Alma behind TLS and a proxy before it; what each of them saw."""

    def __init__(self) -> None:
        self.origin_port = self.proxy_port = 0
        self.heads: list[str] = []
        self.connects: list[str] = []
        self.through = b""
        self.answer = b"HTTP/1.1 200 Connection established\r\n\r\n"

    async def origin(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                body = b'{"id": "%s"}' % C.encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % len(body)
                )
                writer.write(body)
        except asyncio.IncompleteReadError:
            writer.close()

    async def proxy(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.connects.append(head.decode())
        writer.write(self.answer)
        if b" 200 " not in self.answer:
            writer.close()
            return
        inner, outer = await asyncio.open_connection("127.0.0.1", self.origin_port)

        async def pipe(source, sink):
            while data := await source.read(65536):
                self.through += data
                sink.write(data)
            sink.close()

        await asyncio.gather(pipe(reader, outer), pipe(inner, writer))

    def proxied(self, credentials=""):
        return f"http://{credentials}127.0.0.1:{self.proxy_port}"


@asynccontextmanager
async def net(tls):
    made = Net()
    origin = await asyncio.start_server(made.origin, "127.0.0.1", 0, ssl=tls[0])
    proxy = await asyncio.start_server(made.proxy, "127.0.0.1", 0)
    made.origin_port = origin.sockets[0].getsockname()[1]
    made.proxy_port = proxy.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        origin.close()
        proxy.close()


@asynccontextmanager
async def alma(port, host=HOST, **how):
    async with AlmaClient(KEY, base_url=f"https://{host}:{port}", budget=LocalBudget(), **how) as client:
        yield client


@openssl
async def test_a_proxy_sees_a_tunnel_and_no_key(tls):
    """``proxy=`` makes a CONNECT with the proxy's own credential; the key goes inside TLS alone."""
    async with (
        net(tls) as seen,
        alma(seen.origin_port, proxy=seen.proxied(f"me:{PASSWORD}@"), ssl_context=tls[1]) as client,
    ):
        for _ in range(2):
            assert (await client.electronic.collections.get(C)).id == C
        assert PASSWORD not in repr(vars(client._transport))
    (connect,) = seen.connects
    assert connect.startswith(f"CONNECT {HOST}:{seen.origin_port} HTTP/1.1")
    assert "Proxy-Authorization: Basic" in connect
    assert KEY not in connect
    assert KEY.encode() not in seen.through
    assert all(f"apikey {KEY}" in head and "Proxy-" not in head for head in seen.heads)
    assert len(seen.heads) == 2


@openssl
@pytest.mark.parametrize("by", ["client", "session", "session's own", "ALMA_PROXY", "ALMA_PROXY=environment"])
async def test_a_proxy_is_found_where_aiohttp_finds_it(tls, by, monkeypatch):
    """By ``trust_env`` of client or session, by the session's ``proxy``, or by our own variable."""
    async with net(tls) as seen:
        how, own = {"ssl_context": tls[1]}, None
        monkeypatch.setenv("HTTPS_PROXY", seen.proxied())
        if by == "client":
            how["trust_env"] = True
        elif by.startswith("session"):
            monkeypatch.setenv("HTTPS_PROXY", seen.proxied() if by == "session" else "")
            told = {"trust_env": True} if by == "session" else {"proxy": seen.proxied()}
            own = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls[1]), **told)
            how = {"session": own}
        else:
            monkeypatch.setenv("ALMA_PROXY", "environment" if "=" in by else seen.proxied())
            monkeypatch.setenv("ALMA_API_KEY", KEY)
            monkeypatch.setenv("ALMA_BASE_URL", f"https://{HOST}:{seen.origin_port}")
            async with AlmaClient.from_env(budget=LocalBudget(), **how) as client:
                assert (await client.electronic.collections.get(C)).id == C
            assert len(seen.connects) == 1
            return
        async with alma(seen.origin_port, **how) as client:
            assert (await client.electronic.collections.get(C)).id == C
        if own is not None:
            await own.close()
        assert len(seen.connects) == 1


@openssl
@pytest.mark.parametrize("how", [{}, {"trust_env": True}], ids=["not asked for", "NO_PROXY"])
async def test_the_environment_is_followed_only_where_asked_for(tls, how, monkeypatch):
    """Without ``trust_env`` variables for proxies count for nothing, with it ``NO_PROXY`` counts as well."""
    async with net(tls) as seen:
        monkeypatch.setenv("HTTPS_PROXY", seen.proxied())
        monkeypatch.setenv("NO_PROXY", "127.0.0.1" if how else "")
        async with alma(seen.origin_port, "127.0.0.1", ssl_context=tls[1], **how) as client:
            assert (await client.electronic.collections.get(C)).id == C
        assert seen.connects == []


@openssl
async def test_a_proxy_that_refuses_is_named(tls):
    """Nothing was sent, and the sentence names the proxy and its status, and no password."""
    async with net(tls) as seen:
        seen.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        async with alma(
            seen.origin_port, proxy=seen.proxied(f"me:{PASSWORD}@"), ssl_context=tls[1]
        ) as client:
            once = client.with_options(deadline=5.0)
            with pytest.raises(NotSent) as caught:
                await once.electronic.collections.get(C)
    assert "407" in str(caught.value)
    assert "proxy" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert seen.heads == []


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"proxy": f"socks5://me:{PASSWORD}@127.0.0.1:1080"}, "http"),
        ({"proxy": f"http://me:{PASSWORD}@127.0.0.1:1080/path"}, "http"),
        ({"proxy": f"me:{PASSWORD}"}, "http"),
        ({"proxy": ""}, "http"),
        ({"base_url": "http://127.0.0.1:9", "proxy": f"http://me:{PASSWORD}@127.0.0.1:1"}, "https"),
    ],
)
def test_what_cannot_be_is_refused(how, says):
    """Other kinds of proxies, and one that would see the key: a sentence, and no password in it."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        AlmaClient(KEY, **{"base_url": f"https://{HOST}", "budget": LocalBudget(), **how})
    assert PASSWORD not in str(caught.value)
    assert KEY not in str(caught.value)


async def test_what_a_session_would_drop_is_refused():
    """A TLS context beside a session, a session that is closed, one of another loop: each is said, none is passed over."""
    context = ssl.create_default_context()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match="ssl_context"):
            AlmaClient(KEY, region="eu", session=session, ssl_context=context)
        with pytest.raises(ConfigurationError, match="ssl_context"):
            PolarisClient(
                "https://polaris.test", organization_id=1, workstation_id=1,
                auth=StaffPassword("d", "u", "p"), session=session, ssl_context=context,
            )  # fmt: skip
        lent = AlmaClient(KEY, base_url="http://127.0.0.1:9", session=session, budget=LocalBudget())
    with pytest.raises(ConfigurationError, match="closed"):
        await lent.electronic.collections.get(C)
    with pytest.raises(ConfigurationError, match="closed"):
        AlmaClient(KEY, region="eu", session=session)


def test_a_session_of_another_loop_is_refused():
    """A session belongs to the loop that it was made in."""

    async def make():
        return aiohttp.ClientSession()

    loop = asyncio.new_event_loop()
    session = loop.run_until_complete(make())

    async def use():
        async with AlmaClient(
            KEY, base_url="http://127.0.0.1:9", session=session, budget=LocalBudget()
        ) as client:
            await client.electronic.collections.get(C)

    with pytest.raises(ConfigurationError, match="event loop"):
        asyncio.run(use())
    loop.run_until_complete(session.close())
    loop.close()
