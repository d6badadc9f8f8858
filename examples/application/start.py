"""Run a command to its end and then become the application: python start.py COMMAND [ARGUMENT]...

The application starts only if the command ends with 0, such as ``python cli.py up`` or ``python cli.py wait --for
applied``. A shell that does this as the first process of a container would keep SIGTERM to itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

APPLICATION = Path(__file__).with_name("app.py")


def main(command: list[str]) -> None:
    """Run the command, pass signals on to it, and become the application, or exit as the command did."""
    signals: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _: object) -> None:
        signals.append(number)
        if child:
            child.send_signal(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, pass_on)
    child = subprocess.Popen(command)  # noqa: S603 - what the operator has written
    if signals:  # that came before there was a child
        child.send_signal(signals[0])
    code = child.wait()
    if code or signals:
        sys.exit(code if code > 0 else 128 + (signals or [-code])[0])
    os.execv(sys.executable, [sys.executable, str(APPLICATION)])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
