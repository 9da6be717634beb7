"""The wheel: what is in it, and that it works where the source is not."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = {".sql", ".html", ".css", ".js", ".svg", ".toml", ".csv", ".mako", ".md"}

READ_RESOURCES = """
from importlib.resources import files
from pathlib import Path

import api, ledger, projections
from api.pages import login_page
from ledger.workflow import read_workflow

for package in (api, ledger, projections):
    assert Path(package.__file__).is_relative_to(TARGET), package.__file__
assert b"Log in" in login_page(tried=None, wanted="/").body
for name in ("tables", "indexes", "views", "grants"):
    assert "{" in files("projections").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
assert "{app}" in files("ledger").joinpath("roles.sql").read_text(encoding="utf-8")
assert files("ledger").joinpath("migrations", "env.py").is_file()
assert read_workflow(Path(str(files("api.demo").joinpath("hotel.toml")))).initial == "Booked"
assert files("api.demo").joinpath("hotel.csv").read_text(encoding="utf-8").startswith("bookingId,")
"""


@pytest.fixture(scope="module", name="wheel")
def _wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, ROOT)
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module", name="installed")
def _installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    _run(*pip, "install", "--no-deps", "--no-index", "--target", target, wheel)
    return target


@pytest.fixture(name="names")
def _names(wheel: Path) -> Iterator[set[str]]:
    with zipfile.ZipFile(wheel) as archive:
        yield set(archive.namelist())


def test_it_holds_the_three_packages_and_nothing_beside_them(names: set[str]) -> None:
    top_level = {name.split("/")[0] for name in names}
    (about,) = (name for name in top_level if name.endswith(".dist-info"))

    assert top_level == {"ledger", "projections", "api", about}
    assert about.startswith("booking_ledger-")


def test_every_file_of_the_source_is_in_it(names: set[str]) -> None:
    source = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and path.suffix in DATA | {".py", ".typed"}
    }

    assert {Path(name).suffix for name in source} >= DATA
    assert source - names == set()


def test_it_has_the_command_and_the_licences(wheel: Path, names: set[str]) -> None:
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        declared = archive.read(entry_points).decode()

    assert "booking-ledger = api.cli:main" in declared
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_installed_it_finds_its_data_without_the_source(installed: Path) -> None:
    _run(
        sys.executable,
        "-c",
        f"TARGET = {str(installed)!r}\n{READ_RESOURCES}",
        path=installed,
    )


def test_installed_its_command_answers(installed: Path) -> None:
    said = _run(sys.executable, installed / "bin" / "booking-ledger", "--help", path=installed)

    assert "serve" in said


def _run(*command: object, path: Path | None = None) -> str:
    """Run a command away from the source; its output. Fails with what it said."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    if path is not None:
        # Before site-packages, where an editable install points to the source.
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=path or ROOT.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
