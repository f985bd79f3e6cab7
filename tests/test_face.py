"""The public face as a person meets it at a prompt: dir, help, completion, signatures."""

from __future__ import annotations

import importlib
import inspect
import pydoc
import re
import subprocess
import sys
from typing import Any, get_type_hints

import pytest

import alma_async
from alma_async import AlmaClient, Portfolio
from alma_async.alma import client as of_alma
from alma_async.polaris import PolarisClient
from alma_async.polaris import client as of_polaris

PLAIN: Any = pydoc.plaintext  # type: ignore[attr-defined]
PACKAGES = [
    "alma_async",
    "alma_async.load",
    "alma_async.polaris",
    "alma_async.webhooks",
    "alma_async.otel",
    "alma_async.sim",
    "alma_async.workers",
]


@pytest.mark.parametrize("name", PACKAGES)
def test_dir_and_help_show_every_public_name(name: str) -> None:
    """Each name of ``__all__`` is there, is listed, and is told by help with what it is."""
    package = importlib.import_module(name)
    text = pydoc.render_doc(package, renderer=PLAIN)
    for public in package.__all__:
        assert public in dir(package)
        assert getattr(package, public) is not None
        assert public in text or public == "__version__"


def test_dir_shows_them_before_their_first_use() -> None:
    """In a fresh interpreter, which has imported nothing of them yet; and asking for a name that there is not is an error."""
    program = (
        "import alma_async, sys; names = dir(alma_async);"
        "assert {'AlmaClient', 'Portfolio', 'OutcomeUnknown'} <= set(names), names;"
        "assert not {'aiohttp', 'orjson', 'cattrs'} & set(sys.modules), 'imported too early';"
        "assert not hasattr(alma_async, 'AlmaCliemt')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_said_to_be_public_is_imported_for_checkers(name: str) -> None:
    """The imports that only checkers read name all of ``__all__``, no more and no less."""
    package: Any = importlib.import_module(name)
    told = inspect.getsource(package)
    for public in package.__all__:
        assert told.count(public) >= 2


def test_help_of_the_client_tells_its_areas() -> None:
    """help(AlmaClient) names each area and what it can do, and each area tells its operations with their text."""
    text = pydoc.render_doc(AlmaClient, renderer=PLAIN)
    for word in (
        "electronic",
        "portfolios",
        "sets",
        "jobs",
        "add_members",
        "wait_until_filled",
        "from_env",
        "request",
    ):
        assert word in text
    words = {*re.findall(r"[a-z_]+", text)}
    for area in ("electronic", "bibs", "sets", "jobs", "analytics"):
        made = get_type_hints(getattr(AlmaClient, area).fget)["return"]
        public = [name for name in dir(made) if not name.startswith("_")]
        assert {*public} <= words
        for name in public:
            assert inspect.getdoc(getattr(made, name))
    assert "to_dict" in pydoc.render_doc(Portfolio, renderer=PLAIN)


@pytest.mark.parametrize(("client", "module"), [(AlmaClient, of_alma), (PolarisClient, of_polaris)])
def test_what_from_env_takes_is_what_the_client_takes(client: Any, module: Any) -> None:
    """The typed arguments of from_env are those of the constructor, each with the same type."""
    taken = {
        name: one.annotation for name, one in inspect.signature(client).parameters.items() if name != "self"
    }
    assert module.ClientOptions.__annotations__.keys() == taken.keys()
    for name, kind in module.ClientOptions.__annotations__.items():
        assert kind.__forward_arg__ == taken[name]


def test_the_version_is_told() -> None:
    """It is one of the public names."""
    assert alma_async.__version__
