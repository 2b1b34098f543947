"""Settings come from their highest source, and it can be told which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from agents_sdk.kafka_login import completed, key_login, named, password
from agents_sdk.keys import issued, make_master, read_master, write
from agents_sdk.settings import NotConfigured, explain, load_settings, running_file

HERE = "127.0.0.1:1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, a data directory and a configuration folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKPLANE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def running_platform(home: Path, pid: int | None = None, **sections: object) -> None:
    """A record as a supervisor publishes it; by default that of a process that lives: this one."""
    (home / "data").mkdir(exist_ok=True)
    record = {"supervisor": {"pid": pid or os.getpid()}, "settings": sections}
    (home / "data" / "platform.json").write_text(json.dumps(record))


def user_file(home: Path, text: str) -> None:
    (home / "config" / "backplane").mkdir(parents=True, exist_ok=True)
    (home / "config" / "backplane" / "config.toml").write_text(text)


def test_no_address_anywhere_says_what_to_run(home: Path) -> None:
    """Without a platform the error names the command that starts one."""
    with pytest.raises(NotConfigured, match="backplane up"):
        load_settings()


def test_sources_lie_over_each_other_in_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, environment, project file, platform, user file: take one away and the next shows."""
    user_file(home, '[kafka]\nbootstrap.servers = "user:1"')
    assert load_settings().kafka == {"bootstrap.servers": "user:1"}

    running_platform(home, kafka={"bootstrap.servers": "platform:1"})
    assert load_settings().kafka == {"bootstrap.servers": "platform:1"}

    (home / "backplane.toml").write_text('[kafka]\n"bootstrap.servers" = "project:1"')
    assert load_settings().kafka == {"bootstrap.servers": "project:1"}

    monkeypatch.setenv("BACKPLANE_KAFKA__BOOTSTRAP_SERVERS", "env:1")
    assert load_settings().kafka == {"bootstrap.servers": "env:1"}

    assert load_settings(kafka={"bootstrap.servers": "argument:1"}).kafka == {"bootstrap.servers": "argument:1"}


def test_librdkafka_properties_have_their_own_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment names become dotted ones; numbers and booleans of a file become the text librdkafka takes."""
    monkeypatch.setenv("BACKPLANE_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    (home / "backplane.toml").write_text(
        f'[kafka]\nbootstrap.servers = "{HERE}"\n"linger.ms" = 5\n"enable.idempotence" = true'
    )

    assert load_settings().kafka == {
        "bootstrap.servers": HERE,
        "security.protocol": "SASL_SSL",
        "linger.ms": "5",
        "enable.idempotence": "true",
    }


def test_property_with_an_underscore_keeps_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka has no log.level; every client would refuse to start."""
    from confluent_kafka import Producer

    monkeypatch.setenv("BACKPLANE_KAFKA__BOOTSTRAP_SERVERS", HERE)
    monkeypatch.setenv("BACKPLANE_KAFKA__LOG_LEVEL", "3")
    settings = load_settings()

    assert settings.kafka == {"bootstrap.servers": HERE, "log_level": "3"}
    Producer(settings.kafka)


def test_credentials_never_reach_a_server_named_by_a_higher_source(home: Path) -> None:
    """The user's password for the company's cluster is not sent to the local platform."""
    user_file(
        home,
        '[kafka]\n"bootstrap.servers" = "company:1"\n"sasl.password" = "hunter2"\n'
        '[registry]\nurl = "http://company"\npassword = "hunter2"',
    )
    running_platform(home, kafka={"bootstrap.servers": HERE}, registry={"url": "http://here"})

    settings = load_settings()
    assert settings.kafka == {"bootstrap.servers": HERE}
    assert settings.registry.password.get_secret_value() == ""


def test_secret_from_the_environment_joins_an_address_from_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual way to keep a password out of a file."""
    (home / "backplane.toml").write_text('[kafka]\n"bootstrap.servers" = "company:1"')
    monkeypatch.setenv("BACKPLANE_KAFKA__SASL_PASSWORD", "hunter2")

    assert load_settings().kafka == {"bootstrap.servers": "company:1", "sasl.password": "hunter2"}


def test_platform_that_is_gone_is_no_source(home: Path) -> None:
    """The record of a supervisor that was killed does not send anyone to a dead port."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    running_platform(home, pid=gone.pid, kafka={"bootstrap.servers": HERE})

    with pytest.raises(NotConfigured):
        load_settings()


def test_explain_names_the_source_of_each_value_and_masks_secrets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of defaults; no secret is shown whatever the source."""
    (home / "backplane.toml").write_text('[kafka]\n"bootstrap.servers" = "company:1"\n[topics]\npartitions = 8')
    monkeypatch.setenv("BACKPLANE_KAFKA__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("BACKPLANE_REGISTRY__PASSWORD", "hunter2")
    rows = {row.key: row for row in explain(topics={"replication": 3})}

    assert rows["topics.partitions"][1:] == ("8", "backplane.toml")
    assert rows["topics.replication"][1:] == ("3", "argument")
    assert rows["kafka.sasl.password"][1:] == ("********", "env BACKPLANE_KAFKA__SASL_PASSWORD")
    assert rows["limits.max_value_bytes"][1:] == ("1048576", "default")
    assert "hunter2" not in str(rows)


def test_explain_works_without_a_platform(home: Path) -> None:
    """It is what one runs to find out why nothing is configured."""
    assert "data_dir" in {row.key for row in explain()}


def test_unknown_key_is_an_error_that_names_it(home: Path) -> None:
    """A misspelt setting does not pass for a default."""
    (home / "backplane.toml").write_text("[topics]\npartitoins = 8")

    with pytest.raises(ValidationError, match="partitoins"):
        load_settings(kafka={"bootstrap.servers": HERE})


def test_broken_file_is_named(home: Path) -> None:
    """The message says which file to mend."""
    (home / "backplane.toml").write_text("[topics")

    with pytest.raises(NotConfigured, match=r"backplane\.toml"):
        load_settings()


def test_capability_paths_of_a_file_are_relative_to_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those of the environment are written as in PATH."""
    (home / "backplane.toml").write_text('[capabilities]\npaths = ["mine"]')
    assert load_settings(kafka={"bootstrap.servers": HERE}).capabilities.paths == (home / "mine",)

    monkeypatch.setenv("BACKPLANE_CAPABILITIES__PATHS", f"/a{os.pathsep}/b")
    assert load_settings(kafka={"bootstrap.servers": HERE}).capabilities.paths == (Path("/a"), Path("/b"))


def test_settings_do_not_show_secrets_when_printed(home: Path) -> None:
    """Neither kafka's nor the registry's."""
    settings = load_settings(kafka={"bootstrap.servers": HERE, "sasl.password": "hunter2"})

    assert "hunter2" not in repr(settings)


def test_import_is_cheap() -> None:
    """A command that needs no settings does not pay for pydantic."""
    code = "import sys, agents_sdk.settings; sys.exit('pydantic' in sys.modules or 'confluent_kafka' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def guarded(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The properties of a running platform whose Kafka asks for a login; its master key is ours to read."""
    monkeypatch.setenv("BACKPLANE_CACHE_DIR", str(tmp_path / "cache"))
    kafka = {"bootstrap.servers": HERE, **named("bp.operator")}
    running_platform(home, kafka=kafka, identity={"master_file": str(make_master(home / "data" / "keys"))})
    master = read_master(home / "data" / "keys" / "master")
    assert master is not None
    return {**kafka, "sasl.password": password(master, "bp.operator")}


def test_the_platforms_login_goes_with_its_address(home: Path, guarded: dict[str, str]) -> None:
    """Who names the address of the running platform is let in as its owner. Another server, and another user, is given
    no password of it."""
    assert load_settings().kafka == guarded
    assert load_settings(kafka={"bootstrap.servers": HERE}).kafka == guarded
    assert load_settings(kafka=guarded).kafka == guarded
    more = {"bootstrap.servers": HERE, "linger.ms": "5"}
    assert load_settings(kafka=more).kafka == {**guarded, **more}
    for other in (
        {"bootstrap.servers": "far:1"},
        {"bootstrap.servers": HERE, "security.protocol": "sasl_plaintext", "sasl.username": "me"},
        {"bootstrap.servers": HERE, "security.protocol": "plaintext"},
    ):
        assert load_settings(kafka=other).kafka == other
    shown = {key: (value, source) for key, value, source in explain(kafka={"bootstrap.servers": HERE})}
    assert shown["kafka.sasl.password"] == ("********", "keys")
    assert shown["kafka.sasl.username"] == ("bp.operator", str(home / "data" / "platform.json"))


def test_the_platform_is_found_by_its_address_alone(
    home: Path, guarded: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another data directory the master key that is named says which platform it is, or the address itself."""
    monkeypatch.setenv("BACKPLANE_DATA_DIR", str(tmp_path / "elsewhere"))
    address = {"bootstrap.servers": HERE}
    assert load_settings(kafka=address).kafka == address
    keys = {"master_file": str(home / "data" / "keys" / "master")}
    assert load_settings(kafka=address, identity=keys).kafka == guarded
    running_file(HERE).parent.mkdir(parents=True)
    running_file(HERE).write_text(str(home / "data"))
    assert load_settings(kafka=address).kafka == guarded
    assert load_settings(kafka={"bootstrap.servers": "127.0.0.1:2"}).kafka == {"bootstrap.servers": "127.0.0.1:2"}


def test_who_waits_for_a_platform_has_its_login_already(home: Path, guarded: dict[str, str]) -> None:
    """A process that was told the address of a platform that does not run is let in when it does."""
    record = json.loads((home / "data" / "platform.json").read_text())
    stopped = {**record, "supervisor": {}, "settings": {}, "offers": record["settings"]}
    (home / "data" / "platform.json").write_text(json.dumps(stopped))
    assert load_settings(kafka={"bootstrap.servers": HERE}).kafka == guarded
    with pytest.raises(NotConfigured):
        load_settings()


def test_who_has_a_key_is_its_user(home: Path, guarded: dict[str, str], tmp_path: Path) -> None:
    """Also where the master key could be read; each generation has a login of its own."""
    master = read_master(home / "data" / "keys" / "master")
    assert master is not None
    logins = set()
    for name, generation in (("far", 1), ("far", 2), ("bp.executor", 0)):
        key = issued(master, name, generation)
        write(tmp_path / "own.key", key)
        for found in (
            load_settings(identity={"key_file": tmp_path / "own.key"}),
            load_settings(kafka={"bootstrap.servers": HERE}, identity={"key_file": tmp_path / "own.key"}),
            load_settings(
                kafka={"bootstrap.servers": HERE, "security.protocol": "sasl_plaintext"},
                identity={"key_file": tmp_path / "own.key"},
            ),
        ):
            assert found.kafka == {"bootstrap.servers": HERE, "security.protocol": "sasl_plaintext", **key_login(key)}
        logins.add(tuple(sorted(found.kafka.items())))
    assert len(logins) == 3
    assert found.kafka["sasl.password"] == password(master, "bp.executor")


def test_nothing_is_added_to_a_login_of_somebody_elses(tmp_path: Path) -> None:
    """Where a mechanism, a user or a password is said, that is what counts."""
    keys = {"key_file": str(tmp_path / "none.key"), "master_file": str(make_master(tmp_path))}
    for said in (
        {},
        {"security.protocol": "ssl"},
        {"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"},
        {"security.protocol": "sasl_ssl", "sasl.username": "me"},
        {"security.protocol": "sasl_ssl", "sasl.username": "bp.operator", "sasl.password": "x"},
    ):
        assert completed(said, keys) == said


def test_without_the_keys_of_the_platform_there_is_no_login(home: Path, guarded: dict[str, str]) -> None:
    """Another user of the machine, who may read the platform's record and not its keys: Kafka says what it asks for."""
    (home / "data" / "keys" / "master").unlink()
    assert guarded["sasl.username"] == "bp.operator"
    assert load_settings().kafka == {"bootstrap.servers": HERE}
