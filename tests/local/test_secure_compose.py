"""docker-compose.secure.yml and what `make secrets` makes fit together."""

import re
from pathlib import Path

from click.testing import CliRunner

from local.secrets import main
from smalti.runtime.settings import ServerSettings, WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.secure.yml").read_text()


def test_every_file_that_compose_names_is_made(tmp_path: Path):
    assert CliRunner().invoke(main, ["--folder", str(tmp_path)]).exit_code == 0
    named = re.findall(r"\./secrets/(\S+?)(?::|$)", COMPOSE, flags=re.MULTILINE)
    assert {"server", "redis.acl", "redis.url", "metrics.token"} == set(named)
    in_the_container = re.findall(r"/run/smalti/(\S+)", COMPOSE)
    for name in [*named, *(f"server/{each}" for each in in_the_container)]:
        assert (tmp_path / name).exists(), name


def test_every_setting_that_compose_names_exists():
    known = {
        f"SMALTI_{field}".upper() for kind in (ServerSettings, WorkerSettings) for field in kind.model_fields
    }
    assert set(re.findall(r"SMALTI_[A-Z_]+", COMPOSE)) <= known


def test_redis_keeps_its_other_options():
    usual = command_of_redis((ROOT / "docker-compose.yml").read_text())
    assert command_of_redis(COMPOSE)[: len(usual)] == usual


def command_of_redis(compose: str) -> list[str]:
    redis = re.search(r"^  redis:\n(.*?)^  \w", compose, flags=re.MULTILINE | re.DOTALL)
    assert redis
    command = re.search(r"    command:\n((?:      - .*\n)+)", redis[1])
    assert command
    return re.findall(r"- (.*)", command[1])


def test_prometheus_scrapes_the_same_targets_with_a_token():
    secure, usual = (
        (ROOT / "deploy" / name).read_text() for name in ("prometheus.secure.yml", "prometheus.yml")
    )
    with_token = re.sub(r"    authorization:\n      credentials_file: .*\n", "", secure)
    without_comments = [
        [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        for text in (with_token, usual)
    ]
    assert without_comments[0] == without_comments[1]
