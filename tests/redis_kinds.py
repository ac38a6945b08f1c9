"""More than one Redis, as real processes: a master with replicas and Sentinels, and one over TLS."""

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from local.ports import free_port
from local.private_redis import PrivateRedis
from smalti.errors import Unavailable
from tests.system.cluster import until

USERS = Path(__file__).resolve().parents[1] / "deploy" / "redis-users.acl"
_PASSWORD = "change-me-sentinel"  # as in that file
MASTER = "smalti"  # its name among the Sentinels
REPLICATING = {"repl-diskless-sync-delay": "0"}  # a replica need not wait for others
SLOTS = 16384  # of a cluster
_CLUSTERED = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", "cluster-require-full-coverage": "no"}
_DOWN_MS = 1000  # silence after which a Sentinel counts the master as down


class Sentinel(PrivateRedis):
    """A Sentinel that watches one master; `redis-server --sentinel` is the same as redis-sentinel."""

    def __init__(self, folder: Path, master_port: int, *, has_user: bool) -> None:
        super().__init__(folder)
        self._master_port = master_port
        self._user = [
            f"sentinel auth-user {MASTER} smalti-sentinel",
            f"sentinel auth-pass {MASTER} {_PASSWORD}",
        ]
        self._user *= has_user

    def client(self) -> Redis:
        """A connection to it."""
        return Redis(port=self.port, decode_responses=True)

    def command(self, port: int) -> list[str]:
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"sentinel monitor {MASTER} 127.0.0.1 {self._master_port} 2",
            f"sentinel down-after-milliseconds {MASTER} {_DOWN_MS}",
            f"sentinel failover-timeout {MASTER} 2000",
            *self._user,
        ]
        configuration = self.folder / "sentinel.conf"
        if not configuration.exists():  # the Sentinel itself keeps what it knows in it
            configuration.write_text("\n".join(lines) + "\n")
        return [str(self.executable), str(configuration), "--sentinel"]


class Replicated:
    """A master, its replica and three Sentinels, until the block ends; `users` is a file from `users_for_tests`."""

    def __init__(self, folder: Path, *, users: Path | None = None) -> None:
        self._folder = folder
        self._users = users
        self._options = REPLICATING | (_authenticating(users) if users else {})
        self.servers = [PrivateRedis(folder / "redis-0", options=self._options)]
        self._sentinels: list[Sentinel] = []
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """The value of SMALTI_REDIS_URL."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self._sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}/0"

    @property
    def master(self) -> PrivateRedis:
        """The server that the Sentinels call the master now."""
        with self._sentinels[0].client() as sentinel:
            port = sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)[1]
        [found] = [server for server in self.servers if server.port == int(port)]
        return found

    def await_failover_from(self, old: PrivateRedis) -> PrivateRedis:
        """Wait until another server is the master; return it."""
        until(lambda: self.master is not old and _is_master(self.master), what="another is the master")
        return self.master

    def await_replicas(self) -> None:
        """Wait until every replica has what the master has, and the Sentinels know all servers."""
        master = self.master
        others = [server for server in self.servers if server is not master and server.is_running]
        until(lambda: all(_follows(server, master) for server in others), what="replicas follow the master")
        until(lambda: all(self._knows_all(each) for each in self._sentinels), what="Sentinels know all")

    def lock_sentinels(self, password: str) -> None:
        """Let the Sentinels ask new clients for a password."""
        for sentinel in self._sentinels:
            with sentinel.client() as asked:
                asked.execute_command("ACL SETUSER", "default", "resetpass", f">{password}")

    def _knows_all(self, sentinel: Sentinel) -> bool:
        with sentinel.client() as asked:
            state = asked.execute_command("SENTINEL MASTER", MASTER)
        others = len(self._sentinels) - 1
        return bool(state["num-slaves"] == len(self.servers) - 1 and state["num-other-sentinels"] == others)

    def __enter__(self) -> Self:
        with self._stack:
            [master] = self.servers
            self._stack.enter_context(master)
            options = {**self._options, "replicaof": f"127.0.0.1 {master.port}"}
            replica = PrivateRedis(self._folder / "redis-1", options=options)
            self.servers.append(self._stack.enter_context(replica))
            for number in range(3):
                sentinel = Sentinel(
                    self._folder / f"sentinel-{number}", master.port, has_user=bool(self._users)
                )
                self._sentinels.append(self._stack.enter_context(sentinel))
                _hurry(sentinel)
            self.await_replicas()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in (*self._sentinels, *self.servers):
            server.kill()
        self._stack.close()


class RedisCluster:
    """A Redis cluster of three masters, until the block ends."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [PrivateRedis(folder / f"node-{number}", options=_CLUSTERED) for number in range(3)]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """The value of SMALTI_REDIS_URL."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def node_of(self, slot: int) -> PrivateRedis:
        """The node that holds a slot, as far as the nodes that run know."""
        [asked, *_] = [node for node in self.nodes if node.is_running]
        with _client(asked) as client:
            slots: Any = client.execute_command("CLUSTER SLOTS")
        [port] = [port for (first, last), (_, port) in _masters(slots) if first <= slot <= last]
        [found] = [node for node in self.nodes if node.port == port]
        return found

    def move(self, slot: int, to: PrivateRedis) -> None:
        """Give a slot with all its keys to another node, as `redis-cli --cluster reshard` does."""
        source = self.node_of(slot)
        with _client(source) as old, _client(to) as new:
            ids = {each: each.execute_command("CLUSTER MYID") for each in (old, new)}
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[old])
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[new])
            while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
                old.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
            for each in (new, old):
                each.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[new])

    def __enter__(self) -> Self:
        with self._stack:
            for node in self.nodes:
                self._stack.enter_context(node)
            for number, node in enumerate(self.nodes):
                with _client(node) as client:
                    first, last = number * SLOTS // 3, (number + 1) * SLOTS // 3
                    client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
                    client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port)
            until(lambda: all(map(_is_complete, self.nodes)), what="the cluster is complete")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.kill()
        self._stack.close()


def _client(server: PrivateRedis) -> Redis:
    return Redis(port=server.port, decode_responses=True)


def _masters(slots: Any) -> list[tuple[tuple[int, int], tuple[str, int]]]:
    return [((first, last), (host, port)) for first, last, (host, port, *_), *_ in slots]


def _is_complete(node: PrivateRedis) -> bool:
    with _client(node) as client:
        info: Any = client.execute_command("CLUSTER INFO")
        slots: Any = client.execute_command("CLUSTER SLOTS")
    return info["cluster_state"] == "ok" and len(_masters(slots)) == 3


def users_for_tests(folder: Path) -> Path:
    """deploy/redis-users.acl, with a user `test` that may do everything; everybody may ask for INFO, as tests do."""
    first, *others = USERS.read_text().splitlines()
    file = folder / "users.acl"
    file.write_text("\n".join([f"{first} +info", *others, "user test on nopass ~* &* +@all\n"]))
    return file


def _authenticating(users: Path) -> dict[str, str]:
    return {"aclfile": str(users), "masteruser": "smalti-replica", "masterauth": "change-me-replica"}


def _hurry(sentinel: Sentinel) -> None:
    """Let a Sentinel look at its servers ten times a second, if it can."""
    with sentinel.client() as asked, suppress(ResponseError):  # Redis 6.2 cannot
        asked.execute_command("SENTINEL DEBUG", "info-period", 100, "publish-period", 100, "ask-period", 100)


def _replication(server: PrivateRedis) -> dict[str, Any]:
    with Redis(port=server.port, decode_responses=True) as asked:
        try:
            info: dict[str, Any] = asked.info("replication")
        except RedisError:
            return {}
    return info


def _is_master(server: PrivateRedis) -> bool:
    return _replication(server).get("role") == "master"


def _follows(server: PrivateRedis, master: PrivateRedis) -> bool:
    its = _replication(master)  # first: its offset grows all the time
    own = _replication(server)
    return own.get("master_link_status") == "up" and own["slave_repl_offset"] >= its["master_repl_offset"]


def redis_over_tls(ca: Path, files: tuple[Path, Path]) -> PrivateRedis:
    """A running Redis that also speaks TLS, at its `tls-port`; skips the test if redis-server cannot."""
    certificate, key = map(str, files)
    options = {
        "tls-port": str(free_port()),
        "tls-cert-file": certificate,
        "tls-key-file": key,
        "tls-ca-cert-file": str(ca),
        "tls-auth-clients": "no",
    }
    try:
        return PrivateRedis(options=options).start()
    except Unavailable as error:
        pytest.skip(f"this redis-server was built without TLS, as the wheel's is: {error}")
