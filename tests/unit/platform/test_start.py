"""What is decided before a process starts: ports, disk, who holds the folder, how long to wait, what to show."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.local import claim, ports
from deploy.local.database import with_login, without_password
from deploy.local.errors import PlatformError
from deploy.local.home import Home, write_atomically
from deploy.local.process import bound_log
from deploy.local.supervisor import backoff_s


@pytest.fixture
def taken() -> object:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def choose(names: list[str], kept: dict[str, int], environment: dict[str, str]) -> dict[str, int]:
    return ports.choose(names, kept, environment, random.Random(7))


def test_ports_are_free_distinct_and_kept() -> None:
    first = choose(["a", "b", "c"], {}, {})
    assert len(set(first.values())) == 3
    assert choose(["a", "b", "c"], first, {}) == first


def test_a_kept_port_that_is_taken_meanwhile_gives_way_to_a_free_one(taken: int) -> None:
    assert choose(["a"], {"a": taken}, {})["a"] != taken


def test_a_pinned_port_is_used_or_refused_but_never_replaced(taken: int) -> None:
    free = choose(["a"], {}, {})["a"]
    assert choose(["a"], {}, {"PLUMBLINE_A_PORT": str(free)}) == {"a": free}
    with pytest.raises(PlatformError, match=f"port {taken}, pinned for a, is taken"):
        choose(["a"], {}, {"PLUMBLINE_A_PORT": str(taken)})


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "8080 ", "٣"])
def test_a_pinned_port_that_is_none_is_named(text: str) -> None:
    with pytest.raises(PlatformError, match="PLUMBLINE_A_PORT is "):
        choose(["a"], {}, {"PLUMBLINE_A_PORT": text})


def test_a_disk_that_is_nearly_full_is_refused_with_its_figures(tmp_path: Path) -> None:
    claim.check_disk(tmp_path)
    with pytest.raises(PlatformError, match=r"GB of disk are free; 1000000 GB are needed") as caught:
        claim.check_disk(tmp_path, free_bytes_min=10**15)
    assert caught.value.where == str(tmp_path)


def test_one_holder_at_a_time_and_the_folder_is_free_when_it_ends(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert claim.holder(home) is None
    lock = claim.claim(home)
    assert claim.holder(home) == os.getpid()
    with pytest.raises(PlatformError, match=f"already runs here, as process {os.getpid()}"):
        claim.claim(home)
    os.close(lock)
    assert claim.holder(home) is None


def test_a_process_that_only_has_the_number_of_one_left_behind_is_spared(tmp_path: Path) -> None:
    home = Home(tmp_path)
    me = psutil.Process()
    entry = {"pid": me.pid, "created": me.create_time() - 100, "stop_signal": 9}
    write_atomically(home.status, json.dumps({"pid": 1, "processes": [entry]}))
    assert claim.end_left_behind(home) == 0
    assert not home.status.exists()


def test_where_the_kernel_cannot_tell_children_a_watcher_ends_what_a_killed_supervisor_left(tmp_path: Path) -> None:
    home = Home(tmp_path)
    child = psutil.Popen(["/bin/sleep", "60"])
    entry = {"pid": child.pid, "created": child.create_time(), "stop_signal": int(signal.SIGTERM)}
    write_atomically(home.status, json.dumps({"pid": 4711, "processes": [entry]}))

    def watch(supervisor: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "deploy.local.claim", str(tmp_path), str(supervisor)]
        return subprocess.Popen(command, stdin=subprocess.PIPE)

    watch(4712).communicate(timeout=20)
    assert child.is_running()
    watcher = watch(4711)
    with pytest.raises(subprocess.TimeoutExpired):
        watcher.wait(0.5)
    assert child.is_running()
    watcher.communicate(timeout=20)
    assert child.wait(5) == -signal.SIGTERM


def test_the_wait_before_a_restart_grows_is_bounded_and_varies() -> None:
    choice = random.Random(7)
    waits = [[backoff_s(deaths, choice) for _ in range(200)] for deaths in (1, 2, 3, 50)]
    assert all(0.25 <= wait <= 0.5 for wait in waits[0])
    assert all(0.5 <= wait <= 1.0 for wait in waits[1])
    assert all(15 <= wait <= 30 for wait in waits[3])
    assert len(set(waits[3])) > 100


def test_a_log_that_has_grown_is_cut_in_place_and_the_one_before_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "matching.log"
    with log.open("ab") as writer:
        writer.write(b"old\n")
        writer.flush()
        bound_log(log, bytes_max=10)
        assert log.read_bytes() == b"old\n"
        bound_log(log, bytes_max=3)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "matching.log.1").read_bytes() == b"old\n"


def test_an_address_changes_its_login_and_hides_its_password() -> None:
    url = "postgresql://boss:hunter2@db.example:5433/plumbline?sslmode=require"
    assert with_login(url, "role", "word") == "postgresql://role:word@db.example:5433/plumbline?sslmode=require"
    assert without_password(url) == "postgresql://boss@db.example:5433/plumbline?sslmode=require"
    assert without_password("postgresql://db.example/plumbline") == "postgresql://db.example/plumbline"
