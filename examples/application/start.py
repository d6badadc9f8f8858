"""Run a command, and then the application: python start.py COMMAND [ARGUMENT]...

The application starts only if the command ends with 0, such as ``python cli.py up`` or ``python cli.py wait --for
applied``. This stays the first process of the container and passes signals on to what runs. A shell would keep them,
and a first process that has no handler yet, such as an application that imports its modules, does not get them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

APPLICATION = [sys.executable, str(Path(__file__).with_name("app.py"))]


class Starter:
    """Runs one process after another, and passes signals on to the one that runs."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.signals: list[int] = []
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self.pass_on)

    def pass_on(self, number: int, _: object) -> None:
        """Pass a signal on."""
        self.signals.append(number)
        if self.child:
            self.child.send_signal(number)

    def run(self, command: list[str]) -> None:
        """Run a command to its end; exit as it did unless that is 0, and after a signal."""
        self.child = subprocess.Popen(command)  # noqa: S603 - what the operator has written
        if self.signals:  # that came before there was a child
            self.child.send_signal(self.signals[0])
        code = self.child.wait()
        if code or self.signals:
            sys.exit(code if code > 0 else 128 + (self.signals or [-code])[0])


if __name__ == "__main__":
    starter = Starter()
    starter.run(sys.argv[1:])
    starter.run(APPLICATION)
