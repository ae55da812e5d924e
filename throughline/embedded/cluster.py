import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from throughline.embedded.privileges import Account
from throughline.errors import FolderUnusable
from throughline.supervision.process import describe_exit

OWNER = "throughline"


def clean_environment() -> dict[str, str]:
    """Return our environment without libpq's and PostgreSQL's variables, which would redirect the programs."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}


def major_version(bin_dir: Path) -> str:
    """Return the major version of the installed programs, such as ``18``."""
    said = subprocess.run([bin_dir / "postgres", "--version"], check=True, capture_output=True, text=True)  # noqa: S603 - the wheel's
    return said.stdout.split()[2].partition(".")[0]


def make_cluster(cluster: Path, *, bin_dir: Path, account: Account, password_file: Path) -> None:
    """Make an empty database cluster: UTF-8, builtin C.UTF-8 collation, scram-sha-256 for everybody.

    It is made beside its place and moved there when complete, so a cut-off attempt leaves nothing behind.

    Raises:
        FolderUnusable: initdb failed; its own last words say why (disk full, rights).

    """
    draft = cluster.with_name(cluster.name + ".new")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        account.own(cluster.parent, draft)
        if account.uid is not None:
            account.own(password_file)
        command = [
            *account.prefix,
            str(bin_dir / "initdb"),
            f"--pgdata={draft}",
            f"--username={OWNER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        run_program(command, env=clean_environment())
        draft.rename(cluster)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stdout.strip().splitlines()[-3:] if isinstance(error, subprocess.CalledProcessError) else [error]
        shutil.rmtree(draft, ignore_errors=True)
        raise FolderUnusable(f"{cluster} can't be made: " + " ".join(map(str, said))) from error


def check_cluster(cluster: Path, *, bin_dir: Path, account: Account) -> None:
    """See that the installed PostgreSQL can run over an existing cluster.

    Raises:
        FolderUnusable: it is another major version's, or another user's.

    """
    found = (cluster / "PG_VERSION").read_text().strip()
    installed = major_version(bin_dir)
    if found != installed:
        raise FolderUnusable(
            f"{cluster} was made by PostgreSQL {found}, installed is {installed}: install the wheel with {found}, or "
            f"dump and restore, or move {cluster.parent} away to start with empty data"
        )
    owner, ours = cluster.stat().st_uid, account.uid if account.uid is not None else os.geteuid()
    if owner != ours:
        raise FolderUnusable(
            f"{cluster} belongs to uid {owner}, PostgreSQL would run as uid {ours}: run this as its owner or as root, "
            f"or move {cluster.parent} away to start with empty data"
        )


def run_program(command: list[str], *, env: Mapping[str, str], stdin: str = "", timeout: float | None = None) -> str:
    """Run one of PostgreSQL's programs out of reach of the terminal's Ctrl-C; return its output.

    Raises:
        subprocess.CalledProcessError: it failed; ``stdout`` holds all that it said, or how it ended.

    """
    done = subprocess.run(  # noqa: S603 - the wheel's own programs
        command,
        check=False,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd="/",
        timeout=timeout,
        start_new_session=True,
    )
    if done.returncode != 0:
        said = done.stdout.strip() or describe_exit(done.returncode)
        raise subprocess.CalledProcessError(done.returncode, command, output=said)
    return done.stdout
