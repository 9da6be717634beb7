"""What the documents say: links lead somewhere, names exist, commands run as they stand."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api.cli import LazyGroup
from api.embedded.cluster import installation
from api.problems import TYPES
from api.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
README = ROOT / "README.md"
START_SECONDS = 60.0
ENDLESS = "/api/events/stream"
TIMED_OUT = 28
"""curl's exit code where it was told how long to wait for what has no end."""
ADDRESS = "http://127.0.0.1:8000"

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
VARIABLE = re.compile(rf"\b(?:{ENVIRONMENT_PREFIX}[A-Z][A-Z_]*|FORWARDED_ALLOW_IPS)\b")
ELSEWHERE = re.compile(r"[a-z]+:")

# Joined, for this file is searched too.
NOT_TO_BE_NAMED = [
    *(f"/{home}/" for home in ("work", "root", "home")),
    *(
        ".".join(parts)
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("npmjs", "com"),
            ("yarnpkg", "com"),
            ("deb", "debian", "org"),
            ("crates", "io"),
            ("proxy", "golang", "org"),
        )
    ),
]


def documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def files() -> list[Path]:
    """Everything that is in the repository, or would be with the next commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def anchors(document: Path) -> set[str]:
    """The anchors that its headings have."""
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    """A link to a file has that file, a link to a heading that heading."""
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    broken = []
    for target in LINK.findall(text):
        if ELSEWHERE.match(target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name) if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)

    assert broken == []


def test_every_setting_is_documented_and_no_other_is_named() -> None:
    """operations.md has each variable; no document or container file has one that is not."""
    variables = {
        str(field.validation_alias or f"{ENVIRONMENT_PREFIX}{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    rows = (ROOT / "docs/operations.md").read_text(encoding="utf-8").splitlines()
    documented = {name for row in rows if row.startswith("| `") for name in VARIABLE.findall(row)}
    places = [*documents(), ROOT / "Dockerfile", ROOT / "compose.yaml"]
    named = {name for path in places for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}

    assert documented == variables
    assert {name for name in named - variables if not name.startswith("LEDGER_TEST_")} == set()


def test_every_command_is_in_the_readme_and_no_other() -> None:
    named = set(
        re.findall(r"\bbooking-ledger ([a-z]+(?:-[a-z]+)*)\b", README.read_text(encoding="utf-8"))
    )

    assert named == set(LazyGroup.commands_by_name)


def test_every_problem_type_is_documented_with_its_status_and_members() -> None:
    text = (ROOT / "docs/http.md").read_text(encoding="utf-8").partition("## Problems")[2]
    documented = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", text, re.MULTILINE))

    assert documented == {
        name: "4xx, 5xx" if name == "http-error" else str(kind.status)
        for name, kind in TYPES.items()
    }


def test_every_promise_is_in_the_readme_with_a_test() -> None:
    tests = (ROOT / "tests/acceptance/test_promises.py").read_text(encoding="utf-8")
    promised = re.findall(r"^\| (G\d+) .*\| `(test_\w+)…` \|$", README.read_text(), re.MULTILINE)

    assert [number for number, _ in promised] == [f"G{number}" for number in range(1, 11)]
    for number, name in promised:
        assert name.startswith(f"test_{number.lower()}_")
        assert f"def {name}" in tests


def test_decisions_are_numbered_without_gaps_and_have_the_same_parts() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))

    assert [path.name[:4] for path in decisions] == [
        f"{number:04}" for number in range(1, len(decisions) + 1)
    ]
    for path in decisions:
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings[0].startswith(f"{path.name[:4]}: ")
        if path != decisions[0]:
            parts = ["Status", "Context", "Decision", "Alternatives", "Consequences"]
            assert headings[1:] == parts, path.name


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "[Unreleased]"


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    found = []
    for path in files():
        content = path.read_bytes()
        found += [
            f"{path.relative_to(ROOT)}: {name}"
            for name in NOT_TO_BE_NAMED
            if b"\0" not in content and name.encode() in content
        ]

    assert found == []


# --- The README's commands ------------------------------------------------------------------


@dataclass
class Demo:
    """`serve --demo` as the quick start has it, and what it printed."""

    address: str
    key: str
    link: str
    database: str
    data_dir: Path

    def run(self, block: str) -> list[tuple[str, int, str]]:
        """Run each command of a block as it stands, with this server's address: the command,
        its exit code and its output."""
        return [(line, *self._run(line)) for line in commands(block)]

    def _run(self, command: str) -> tuple[int, str]:
        command = command.replace(ADDRESS, self.address)
        if ENDLESS in command:
            command = command.replace("curl ", "curl --max-time 1 ", 1)
        done = subprocess.run(
            ["bash", "-c", command],
            check=False,
            cwd=self.data_dir,
            env={
                **environment(self.data_dir),
                # psql comes with the database, for machines that have none.
                "PATH": f"{BIN}:{os.environ['PATH']}:{installation() / 'bin'}",
                "KEY": self.key,
                "DB": self.database,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.returncode, done.stdout + done.stderr


def environment(data_dir: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "LEDGER_DATA_DIR": str(data_dir)}


def commands(block: str) -> list[str]:
    """The commands of a block: its lines, but a here-document is one with its lines."""
    found: list[str] = []
    lines = iter(block.splitlines())
    for line in lines:
        command = line
        if (here := re.search(r"<<'(\w+)'$", line)) is not None:
            for more in lines:
                command += f"\n{more}"
                if more == here[1]:
                    break
        if command.strip():
            found.append(command)
    return found


@pytest.fixture(scope="module", name="demo")
def _demo() -> Iterator[Demo]:
    # Not under pytest's own directory, which nobody else may pass: as root, the database runs
    # as another user.
    with tempfile.TemporaryDirectory(prefix="ledger-docs-") as directory:
        data_dir = Path(directory)
        data_dir.chmod(0o711)
        output = data_dir / "output"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [BIN / "booking-ledger", "serve", "--demo", "--port", "0"],
                cwd=directory,
                env=environment(data_dir),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            yield _announced(process, output, data_dir)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _announced(process: subprocess.Popen[bytes], output: Path, data_dir: Path) -> Demo:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        said = output.read_text(encoding="utf-8")
        if re.search(r"^  open .*\n", said, re.MULTILINE):
            found = [
                re.search(rf"^ *{title} +(\S+)", said, re.MULTILINE)
                for title in ("Booking Ledger answers at", "admin key", "open", "database")
            ]
            address, key, link, database = (match[1] for match in found if match is not None)
            return Demo(address, key, link, database, data_dir)
        time.sleep(0.05)
    pytest.fail(output.read_text(encoding="utf-8"))


def _has_curl_with_json() -> bool:
    if shutil.which("curl") is None:
        return False
    done = subprocess.run(["curl", "--help", "all"], check=False, capture_output=True, text=True)
    return "--json" in done.stdout


def readme_blocks() -> list[str]:
    """Blocks of the README that are meant to be run beside `make run`."""
    blocks = [body for kind, body in FENCED.findall(README.read_text()) if kind == "sh"]
    return [
        body for body in blocks if re.search(r"^(curl|psql|booking-ledger)\b", body, re.MULTILINE)
    ]


def taken(summary: str) -> dict[str, int]:
    """What an import says of rows, without what it says of none."""
    counts = re.findall(
        r"^(rows|opened|changed|already known|\w+ed) +(\d+)$", summary, re.MULTILINE
    )
    return {name: int(count) for name, count in counts if count != "0"}


@pytest.mark.skipif(not _has_curl_with_json(), reason="curl 7.82 or newer is not installed")
def test_the_readmes_commands_run_as_they_stand(demo: Demo) -> None:
    """In its order, against one service; what they print is what the README says of them."""
    ran = [result for block in readme_blocks() for result in demo.run(block)]

    for command, code, output in ran:
        if ENDLESS in command:
            assert code == TIMED_OUT, output
            assert "id: 772" in output
        elif command.startswith("psql") and "UPDATE" in command:
            assert code != 0
            assert "events are immutable" in output
        else:
            assert code == 0, f"{command}\n{output}"
            assert "Error" not in output, f"{command}\n{output}"
    printed = [output for _, _, output in ran]
    assert len(printed) >= 20
    assert '"status":"confirmed"' in printed[1]
    assert '"status":409' in printed[2]
    assert '"status":"Booked"' in next(out for cmd, _, out in ran if "asOf=" in cmd)
    assert [json for json in printed if '"title"' in json] == [printed[2]]
    imports = [out for cmd, _, out in ran if cmd.startswith("booking-ledger import")]
    assert [taken(output) for output in imports] == [
        {"rows": 2, "opened": 1, "changed": 1},
        {"rows": 2, "already known": 2},
    ]


def test_the_link_that_the_first_start_prints_logs_in(demo: Demo) -> None:
    with httpx.Client(base_url=demo.address, follow_redirects=True) as browser:
        page = browser.get(demo.link, headers={"Accept": "text/html"})

        assert page.status_code == 200
        assert "H2-" in page.text


def test_every_run_that_is_kept_is_told() -> None:
    command = [sys.executable, "-m", "benchmarks.runs", "docs/measured"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert (ROOT / "docs" / "measured" / "README.md").read_text() == made
