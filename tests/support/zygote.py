"""The zygote: a process that has imported all that a command imports, and forks for each command.

A fork is a process of its own, with its own pid, directory, environment, streams, signals and exit code, and it runs
the file cli.py as ``python cli.py`` does, or that of a copy of the project. It is only spared the start of Python and
the imports, which are most of the time of a short command. All that this depends on is that cli.py, run as a program,
is the command line.

It is started with the number of a socket. Each request is the length of a JSON document, sent together with four
descriptors, and then the document: arguments, directory and environment. The descriptors are the standard streams and a
pipe, to which go the pid and, later, the wait status.
"""

from __future__ import annotations

import ast
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

CLI = Path(__file__).resolve().parents[2] / "cli.py"
LENGTH = struct.Struct("!I")
NOT_THE_TOOLS = {"tests", "benchmarks", "build"}
# numpy, which is imported by matplotlib, starts threads: they would not be there in a fork.
LEFT_TO_THE_FORK = ("matplotlib", "numpy")


def main(number: int) -> None:
    """Import, then serve the requests that come through a socket until the other end is closed."""
    sys.path[0] = str(CLI.parent)
    for name in sorted(modules_of_the_tool()):
        with suppress(ImportError):
            importlib.import_module(name)
    code = compile(CLI.read_bytes(), str(CLI), "exec")
    gc.collect()
    gc.freeze()  # a collection in a fork would otherwise touch, and so copy, all that it shares with us
    request = serve(socket.socket(fileno=number))
    if request is not None and request["program"] == str(CLI):
        run(code, CLI, request)
    elif request is not None:
        program = Path(request["program"])
        forget_project()
        sys.path[0] = str(program.parent)
        run(compile(program.read_bytes(), str(program), "exec"), program, request)


def forget_project() -> None:
    """Forget the modules of the project, such as models, so that those of its copy are imported."""
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "/")
        if file.parent in (CLI.parent, CLI.parent / "sample") and name != "__main__":
            del sys.modules[name]


def modules_of_the_tool() -> set[str]:
    """Return the modules of the tool and those that they import anywhere, found in their source."""
    found = set()
    for path in CLI.parent.rglob("*.py"):
        parts = path.relative_to(CLI.parent).with_suffix("").parts
        if parts[0] in NOT_THE_TOOLS or parts[-1].startswith(("migrate_", "__main__")):
            continue
        if all(part.isidentifier() for part in parts):
            found.update([".".join(parts).removesuffix(".__init__"), *imports(path)])
    return {name for name in found if not name.startswith(LEFT_TO_THE_FORK)}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports by their whole names."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Return the request in the fork, and None in the zygote when no more can come."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end it
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer)
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(reader, selectors.EVENT_READ)
    children: dict[int, int] = {}
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if reader in ready:
            os.read(reader, 4096)
            report_ended(children)
        if control.fileno() in ready:
            header, streams, *_ = socket.recv_fds(control, LENGTH.size, 4)
            if not header:
                return end(children)
            request = json.loads(received(control, LENGTH.unpack(header)[0]))
            pid = os.fork()
            if pid == 0:
                selector.close()
                control.close()
                become(request, streams)
                return request
            for descriptor in streams[:3]:
                os.close(descriptor)
            children[pid] = streams[3]
            os.write(streams[3], f"{pid}\n".encode())


def received(control: socket.socket, length: int) -> bytes:
    """Return so many bytes of the other end's."""
    document = b""
    while len(document) < length:
        document += control.recv(length - len(document))
    return document


def report_ended(children: dict[int, int]) -> None:
    """Write the wait status of each child that has ended to its pipe."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            report = children.pop(pid)
            with suppress(BrokenPipeError):  # who asked is gone
                os.write(report, f"{status}\n".encode())
            os.close(report)


def end(children: dict[int, int]) -> None:
    """Let no child outlive the tests."""
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def become(request: dict[str, Any], streams: list[int]) -> None:
    """Make this fork what a new process would be: its streams and no other descriptor, its directory, its signals."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(streams[:3]):
        os.dup2(descriptor, number)
    open_streams()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    # Opened anew: a stream remembers what it knew of the file it was opened for, such as that it can seek.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), errors="backslashreplace", line_buffering=True
    )
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])


def open_streams() -> None:
    """Open the standard streams as Python does at its start: they remember what they were opened on."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        stream = open(  # noqa: SIM115
            number,
            "w" if number else "r",
            buffering=1 if name == "stderr" else -1,  # as a real start does: nothing is flushed line by line on a pipe
            encoding=old.encoding,
            errors=old.errors,
            closefd=False,
        )
        setattr(sys, name, stream)


def run(code: CodeType, path: Path, request: dict[str, Any]) -> None:
    """Run the file of the command line as the program of this process, and end as it ends.

    What an exit code leaves to do is done by hand: that Python takes all modules apart in the end is a tenth of a short
    command's time. Real starts show that nothing goes wrong there.
    """
    gc.enable()
    sys.argv = [str(path), *request["arguments"]]
    program = ModuleType("__main__")
    program.__file__ = str(path)
    program.__builtins__ = __builtins__
    sys.modules["__main__"] = program
    try:
        exec(code, program.__dict__)
    except SystemExit as ending:
        if isinstance(ending.code, int):
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(ending.code)
        raise


if __name__ == "__main__":
    main(int(sys.argv[1]))
