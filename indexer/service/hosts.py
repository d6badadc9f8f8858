"""The names that the service answers to.

A page of another site can have its own name point to this service and so read it in a browser (DNS rebinding). It
cannot do that with an IP address or with localhost, so these are always allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
LOOPBACK = "localhost"


class AllowedHosts:
    """The names of a service besides its IP addresses and localhost."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = {LOOPBACK, *(name.lower().rstrip(".") for name in names)}

    @staticmethod
    def is_name(text: str) -> bool:
        """Return whether a text is the name of a host, without a scheme and a port."""
        found = HOST.fullmatch(text.lower())
        return found is not None and found[2] is None

    def name_of(self, header: str) -> str | None:
        """Return the host of a Host header without its port; None if it is none."""
        found = HOST.fullmatch(header.strip().lower())
        return found[1].rstrip(".") if found else None

    def allow(self, name: str) -> bool:
        """Return whether the service answers to a host."""
        return name in self.names or _is_address(name.strip("[]"))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
