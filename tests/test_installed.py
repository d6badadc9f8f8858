"""``pip install .`` in a fresh virtual environment, then a project that has nothing to do with a CRM."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from command import CLI, indexes, is_postgres, tables

pytestmark = pytest.mark.long
ROOT = CLI.parent
NO_INDEX = ("Could not find a version that satisfies", "Temporary failure in name resolution", "NewConnectionError")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "tests", "benchmarks", "*.db")
SECTION = (ROOT / "README.md").read_text().partition("## As a library\n")[2].partition("\n## ")[0]
MODELS, PROGRAM = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a virtual environment in which a copy of the project is installed, with all it needs."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT, folder / "clone", ignore=LEFT_OUT)
    venv.create(folder / "environment", with_pip=True)
    pip = [folder / "environment" / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, folder / "clone"], cwd=folder, capture_output=True, text=True)
    if any(each in done.stderr for each in NO_INDEX):
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr
    return folder / "environment"


@pytest.fixture(params=["sqlite_url", "postgres_url"], ids=["file", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of the database that the models are bound to."""
    if request.param == "sqlite_url":
        return f"sqlite:///{tmp_path / 'project' / 'library.db'}"
    server: str = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def project(tmp_path: Path, url: str) -> Path:
    """Return a folder that holds nothing but the models of the README, bound to the database."""
    models = MODELS
    if is_postgres(url):
        models = models.replace("SqliteDatabase", "PostgresqlDatabase").replace('"library.db"', repr(url))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "models.py").write_text(models)
    return tmp_path / "project"


class Shell:
    """Runs programs of a virtual environment in a folder."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.bin, self.folder = environment / "bin", folder

    def run(self, program: str, *arguments: str, exit_code: int = 0) -> str:
        """Run a program that has to exit with this code, and return what it prints."""
        kept = {
            name: value for name, value in os.environ.items() if "DATABASE_URL" not in name and "PYTHON" not in name
        }
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=self.folder, env=kept, capture_output=True, text=True
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout


@pytest.fixture
def shell(environment: Path, project: Path) -> Shell:
    """Return a shell in the folder of the project."""
    return Shell(environment, project)


def test_the_command_takes_a_project_that_is_no_crm_all_the_way(shell, url):
    written = shell.run("indexer", "new", "loans of a member")
    (file,) = shell.folder.glob("migrate_*.py")
    file.write_text(file.read_text().replace("ix_loan_member", "ix_loan_of_member"))
    query = re.search(r"^    from indexer import.*?^    \)\n", written, re.MULTILINE | re.DOTALL)
    assert query
    code = re.sub(r"^    ", "", query[0], flags=re.MULTILINE)
    (shell.folder / "queries.py").write_text(code.replace("ix_loan_member", "ix_loan_of_member"))

    assert "create ix_loan_of_member" in shell.run("indexer", "plan")
    assert "1 created" in shell.run("indexer", "up")
    assert {"loan", "schema_revision"} <= tables(url)
    assert "ix_loan_of_member" in indexes(url)
    assert "Everything is as declared." in shell.run("indexer", "check")
    assert "The query is served" in shell.run("indexer", "verify")
    assert "loan_by_member" in shell.run("indexer", "status")
    assert "1 dropped" in shell.run("indexer", "down", "--to", "base")
    assert "ix_loan_of_member" not in indexes(url)
    assert shell.run("indexer", "status", exit_code=3)


def test_the_example_of_the_readme_works(shell, url):
    shell.run("indexer", "new", "loans of a member")
    (file,) = shell.folder.glob("migrate_*.py")
    revision = file.stem.removeprefix("migrate_")
    (shell.folder / "program.py").write_text(
        f"{PROGRAM}\nimport sys\nassert not {{'click', 'rich'}} & sys.modules.keys()\n"
    )

    assert shell.run("python", "program.py") == f"{revision} ['ix_loan_member']\n"
    assert "ix_loan_member" in indexes(url)
    assert shell.run("python", "program.py") == f"{revision} []\n"


def test_the_example_of_the_readme_and_a_new_revision_satisfy_a_strict_type_checker(environment, tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "program.py").write_text(PROGRAM)
    Shell(environment, tmp_path).run("indexer", "new", "loans of a member")
    (revision,) = tmp_path.glob("migrate_*.py")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", environment / "bin" / "python"]
    done = subprocess.run([*mypy, "program.py", revision], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_only_the_engine_is_installed_with_the_files_that_it_reads(environment):
    (packages,) = environment.glob("lib/python*/site-packages")
    assert not any((packages / name).exists() for name in ("models.py", "queries.py", "cli.py", "sample", "tests"))
    installed = {
        path.relative_to(packages) for path in packages.glob("indexer/**/*") if path.suffix not in ("", ".pyc")
    }
    engine = {path.relative_to(ROOT) for path in ROOT.glob("indexer/**/*") if path.suffix not in ("", ".pyc")}
    assert installed == engine
    (licence,) = packages.glob("indexer-*.dist-info/licenses/LICENSE")
    assert "MIT License" in licence.read_text()
