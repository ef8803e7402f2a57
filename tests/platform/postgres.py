"""PostgreSQL, and MLflow's server on it, by the commands of docker-compose.yml, as processes of this machine."""

import getpass
import importlib.util
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.platform.compose_file import Native, free_port


def laid_out(prefix):
    """Return a folder with a password and a place for artifacts, or skip the test where PostgreSQL cannot run."""
    if sys.platform != "linux":
        pytest.skip("needs Linux: /proc, and more addresses on loopback than 127.0.0.1")
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("psycopg2 (the extra `cluster`) is not installed")
    if _programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))  # short: the paths of Ray's sockets must be
    folder.chmod(0o755)
    (folder / "password").write_text(secrets.token_hex(32))
    (folder / "artifacts").mkdir()
    return folder


def services(folder, postgres, mlflow, **variables):
    """Return the file's services in a folder, PostgreSQL and MLflow's server at these hosts; `variables` are more."""
    port, served = str(free_port(postgres)), str(free_port(mlflow))
    return Native(folder, [_programs()], {
        "NATIVE_POSTGRES": f"{postgres}:{port}",
        "NATIVE_POSTGRES_HOST": postgres,
        "NATIVE_POSTGRES_PORT": port,
        "NATIVE_POSTGRES_SOCKETS": f"{folder}/postgres",
        "NATIVE_POSTGRES_PASSWORD": f"{folder}/password",
        "NATIVE_PGDATA": f"{folder}/postgres/data",
        "NATIVE_MLFLOW": f"{mlflow}:{served}",
        "NATIVE_MLFLOW_HOST": mlflow,
        "NATIVE_MLFLOW_PORT": served,
        "NATIVE_ARTIFACTS": f"{folder}/artifacts",
        **variables,
    })  # fmt: skip


def begin(native):
    """Start PostgreSQL after doing what the image does before: initialise its folder, make the database."""
    user = "postgres" if getpass.getuser() == "root" else None  # which PostgreSQL refuses to run as
    told = native.environment("postgres")
    place = Path(told["PGDATA"]).parent
    place.mkdir()
    if user:
        shutil.chown(place, user)
    settings = {"env": told, "user": user, "cwd": place, "check": True, "capture_output": True}
    initdb = ["initdb", f"--username={told['POSTGRES_USER']}", f"--pwfile={told['POSTGRES_PASSWORD_FILE']}"]
    subprocess.run([*initdb, *shlex.split(told["POSTGRES_INITDB_ARGS"])], **settings)
    native.start("postgres", user=user)
    until = time.monotonic() + 60
    while query(native, f"CREATE DATABASE {told['POSTGRES_DB']}", database="postgres").returncode:
        assert time.monotonic() < until, native.said("postgres")
        time.sleep(0.3)


def query(native, text, *, database="mlflow"):
    password = {"PGPASSWORD": (native.folder / "password").read_text()}
    where = [f"--host={native.variables['NATIVE_POSTGRES_HOST']}", f"--port={native.variables['NATIVE_POSTGRES_PORT']}"]
    asked = ["psql", *where, "--username=mlflow", f"--dbname={database}", "--no-align", "--tuples-only"]
    return subprocess.run(
        [*asked, f"--command={text}"], env=native.environment("postgres", **password), capture_output=True, text=True
    )


def _programs():
    """Return the folder of PostgreSQL's programs, None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    place = shutil.which("initdb") or (str(found[-1]) if found else None)
    return place and str(Path(place).parent)
