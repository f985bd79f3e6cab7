"""The one address rule of the simulator: it speaks with this machine only."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether this is a literal loopback address; a name is none, since it could be resolved to anything."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
