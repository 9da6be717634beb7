"""How much memory the embedded database may use, on machines and in containers of any size."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from api.embedded import memory

GIBIBYTE = 2**30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    def has(gibibytes: float, groups: str = "", limits: Mapping[str, object] | None = None) -> None:
        total = SimpleNamespace(total=int(gibibytes * GIBIBYTE))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: total)
        (tmp_path / "cgroup").write_text(groups)
        for path, limit in (limits or {}).items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{limit}\n")
        monkeypatch.setattr(memory, "PROC", tmp_path / "cgroup")
        monkeypatch.setattr(memory, "CGROUPS", tmp_path)

    return has


@pytest.mark.parametrize(
    ("gibibytes", "expected"), [(0.5, "128MB"), (4, "256MB"), (16, "1024MB"), (512, "1024MB")]
)
def test_of_the_machine(machine: Callable[..., None], gibibytes: float, expected: str) -> None:
    machine(gibibytes)
    assert memory.shared_buffers() == expected


def test_of_a_container(machine: Callable[..., None]) -> None:
    machine(64, "0::/\n", {"memory.max": 4 * GIBIBYTE})
    assert memory.shared_buffers() == "256MB"


def test_of_a_container_without_a_limit(machine: Callable[..., None]) -> None:
    machine(64, "0::/\n", {"memory.max": "max"})
    assert memory.shared_buffers() == "1024MB"


def test_of_the_narrowest_group_around_us(machine: Callable[..., None]) -> None:
    machine(
        64,
        "0::/system.slice/ledger.service\n",
        {
            "system.slice/memory.max": 8 * GIBIBYTE,
            "system.slice/ledger.service/memory.max": "max",
        },
    )
    assert memory.shared_buffers() == "512MB"


def test_of_control_groups_of_version_1(machine: Callable[..., None]) -> None:
    machine(
        64,
        "3:cpu:/x\n2:memory:/docker/1\n",
        {"memory/docker/1/memory.limit_in_bytes": 5 * GIBIBYTE},
    )
    assert memory.shared_buffers() == "320MB"


def test_of_several_controllers_in_one_hierarchy(machine: Callable[..., None]) -> None:
    limits = {"memory,hugetlb/docker/1/memory.limit_in_bytes": 5 * GIBIBYTE}
    machine(64, "3:memory,hugetlb:/docker/1\n", limits)
    assert memory.shared_buffers() == "320MB"


def test_of_a_container_that_sees_the_root_alone(machine: Callable[..., None]) -> None:
    machine(64, "2:memory:/docker/1\n", {"memory/memory.limit_in_bytes": 5 * GIBIBYTE})
    assert memory.shared_buffers() == "320MB"


def test_without_a_limit_in_version_1(machine: Callable[..., None]) -> None:
    machine(8, "2:memory:/\n", {"memory/memory.limit_in_bytes": 9_223_372_036_854_771_712})
    assert memory.shared_buffers() == "512MB"


def test_what_cannot_be_read_does_not_matter(machine: Callable[..., None]) -> None:
    machine(8, "no group\n\n:\n0::\n", {"memory.max": "much"})
    assert memory.shared_buffers() == "512MB"


def test_where_there_are_none(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(8)
    monkeypatch.setattr(memory, "PROC", tmp_path / "none")
    assert memory.shared_buffers() == "512MB"
