"""Wait until the gate of the indexes is open: python gate.py http://service:8080/gate

An application of any kind can start with this. It needs no database and no package. Without Python, curl does the same:
curl --silent --show-error --fail --retry 3600 --retry-delay 1 --retry-all-errors http://service:8080/gate
"""

from __future__ import annotations

import json
import signal
import sys
import time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

PAUSE = 1  # seconds between two questions
TIMEOUT = 5  # seconds for one answer


def main(url: str) -> None:
    """Return once the gate is open. Print each reason for waiting once."""
    said = None
    while (reason := closed(url)) is not None:
        if reason != said:
            print(f"Waiting for {url}: {reason}", flush=True)
            said = reason
        time.sleep(PAUSE)
    print("The gate is open.", flush=True)


def closed(url: str) -> str | None:
    """Return why the gate is closed, or why that is not known; None if it is open."""
    try:
        with urlopen(url, timeout=TIMEOUT):  # noqa: S310 - the operator's own URL
            return None
    except HTTPError as error:
        with error:
            return reason_in(error.read()) or str(error)
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)
        return getattr(cause, "strerror", None) or str(cause)


def reason_in(body: bytes) -> str | None:
    """Return the reason that /gate gives in its document; None if this is another document."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return str(document["reason"]) if isinstance(document, dict) and document.get("reason") else None


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as the first process of a container: see start.py
    main(sys.argv[1])
