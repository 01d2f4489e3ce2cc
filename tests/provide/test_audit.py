from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

from zooproxy.provide.audit import KEPT, AuditLog, an_entry

WRITE_MANY = """
import sys
from pathlib import Path
from zooproxy.provide.audit import AuditLog, an_entry
log = AuditLog(Path(sys.argv[1]), 20_000)
sys.stdin.readline()
for number in range(100):
    log.write(an_entry(sys.argv[2], None, "put", {"number": number}, "200"))
"""


def test_entries_come_back_newest_first_and_as_many_as_asked(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    assert log.latest(9) == []
    for number in range(5):
        log.write(an_entry("token:1", "10.0.0.1", "put_model", {"number": number}, "201"))
    assert [entry["target"]["number"] for entry in log.latest(3)] == [4, 3, 2]
    assert len(log.latest(9)) == 5
    assert set(log.latest(1)[0]) == {"time", "who", "peer", "action", "target", "outcome"}


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    AuditLog(tmp_path).write(an_entry("loopback", None, "a", {}, "200"))
    assert stat.S_IMODE((tmp_path / "audit.log").stat().st_mode) == 0o600


def test_a_name_cannot_begin_a_line_or_colour_a_terminal(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    nasty = 'a\n{"who": "b"}\r\x1b[31m\x7f\u2028é'
    log.write(an_entry("loopback", None, "a", {"name": nasty}, "200"))
    text = (tmp_path / "audit.log").read_bytes()
    assert text.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in text[:-1])
    assert log.latest(2)[0]["target"]["name"] == nasty


def test_long_targets_are_cut_and_credentials_masked(tmp_path: Path) -> None:
    refs = [f"https://h/{number}?sig=canary" for number in range(1000)]
    entry = an_entry("loopback", None, "a", {"refs": refs, "name": "x" * 2_000_000}, "202")
    line = json.dumps(entry.target)
    assert "canary" not in line
    assert len(line) < 10_000
    assert entry.target["refs"][-1] == "and 900 more"


def test_a_file_that_is_full_is_rotated_and_old_ones_go(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, largest=1000)
    for number in range(100):
        log.write(an_entry("loopback", None, "a", {"number": number}, "200"))
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"audit.log", *(f"audit.log.{number}" for number in range(1, KEPT + 1))}
    assert max(sizes.values()) <= 1000
    numbers = [entry["target"]["number"] for entry in log.latest(1000)]
    assert numbers == list(range(99, 99 - len(numbers), -1))


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.write(an_entry("loopback", None, "a", {}, "200"))
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b'{"time": "2\n7\n')
    log.write(an_entry("loopback", None, "b", {}, "200"))
    assert [entry["action"] for entry in log.latest(9)] == ["b", "a"]


def test_an_entry_longer_than_what_is_read_at_once_is_found(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    for name in "abc":
        log.write(an_entry("loopback", None, name, {"refs": ["é" * 2048] * 100}, "202"))
    assert (tmp_path / "audit.log").stat().st_size > 3 << 20
    assert [entry["action"] for entry in log.latest(9)] == ["c", "b", "a"]


def test_two_processes_that_write_and_rotate_at_once_lose_no_line(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITE_MANY, str(tmp_path), who], stdin=subprocess.PIPE, text=True)
        for who in ("one", "two")
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    entries = AuditLog(tmp_path).latest(1000)
    assert sorted((entry["who"], entry["target"]["number"]) for entry in entries) == [
        (who, number) for who in ("one", "two") for number in range(100)
    ]
