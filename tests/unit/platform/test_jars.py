"""No jar is used that is not, byte for byte, the one that the lock names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deploy.local import jars
from deploy.local.jars import Jar, JarError


def jar(name: str, content: bytes) -> Jar:
    return Jar("org.example", name, "1.0", hashlib.sha256(content).hexdigest())


def serving(contents: dict[str, bytes]) -> object:
    def download(wanted: Jar, scratch: Path) -> Path:
        if wanted.artifact not in contents:
            raise ConnectionError("no route to host")
        path = scratch / wanted.file
        path.write_bytes(contents[wanted.artifact])
        return path

    return download


def test_what_is_right_is_kept_and_not_fetched_again(tmp_path: Path) -> None:
    wanted = [jar("a", b"A"), jar("b", b"B")]
    assert jars.fetch(wanted, tmp_path, download=serving({"a": b"A", "b": b"B"})) == 2
    assert jars.fetch(wanted, tmp_path, download=serving({})) == 0
    assert jars.classpath(wanted, tmp_path) == f"{tmp_path / 'a-1.0.jar'}:{tmp_path / 'b-1.0.jar'}"


def test_a_wrong_jar_is_named_and_deleted_and_the_right_ones_are_kept(tmp_path: Path) -> None:
    wanted = [jar("a", b"A"), jar("b", b"B")]
    with pytest.raises(JarError) as caught:
        jars.fetch(wanted, tmp_path, download=serving({"a": b"A", "b": b"altered"}))
    assert "org.example:b:1.0" in str(caught.value)
    assert hashlib.sha256(b"altered").hexdigest() in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a-1.0.jar"]


def test_without_network_each_missing_jar_is_named(tmp_path: Path) -> None:
    with pytest.raises(JarError) as caught:
        jars.fetch([jar("a", b"A"), jar("b", b"B")], tmp_path, download=serving({}))
    assert "org.example:a:1.0 could not be fetched: no route to host" in str(caught.value)
    assert "org.example:b:1.0" in str(caught.value)
    assert "network" in str(caught.value.fix)


def test_a_jar_altered_in_the_cache_is_refused_and_replaced_at_set_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [jar("a", b"A")]
    (tmp_path / "a-1.0.jar").write_bytes(b"altered")
    with pytest.raises(JarError, match=r"is not the org\.example:a:1\.0"):
        jars.classpath(wanted, tmp_path)
    assert jars.fetch(wanted, tmp_path, download=serving({"a": b"A"})) == 1
    assert "org.example:a:1.0" in capsys.readouterr().err
    assert jars.classpath(wanted, tmp_path)


def test_a_jar_that_was_never_fetched_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(JarError, match="has not been fetched") as caught:
        jars.classpath([jar("a", b"A")], tmp_path)
    assert "make setup" in str(caught.value.fix)


@pytest.mark.parametrize("line", ["a:b:1", "a:b sha256:" + "0" * 64, "a:b:1 sha256:00"])
def test_a_line_of_the_lock_that_says_no_digest_is_refused(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text(f"{line}\n")
    with pytest.raises(JarError, match=r"jars.lock line 1"):
        jars.read_lock(lock)


def test_the_lock_names_one_kafka_of_every_module() -> None:
    locked = {(line.group, line.artifact): line.version for line in jars.read_lock()}
    kafka = {artifact: version for (group, artifact), version in locked.items() if group == "org.apache.kafka"}
    assert set(kafka.values()) == {jars.KAFKA}
    assert {"kafka_2.13", "kafka-clients"} <= kafka.keys()
