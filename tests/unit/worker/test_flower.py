import ast
import socket

import pytest
from flower.utils.broker import Broker
from pydantic import SecretStr

from events import ConfigurationError
from settings import FlowerSettings, RedisSettings, Settings
from worker.app import MOST_SHOWN, shown_arguments
from worker.flower import create_app, main


def made(url: str) -> Settings:
    return Settings.model_construct(redis=RedisSettings(url=SecretStr(url)), flower=FlowerSettings())


def test_it_does_not_start_without_a_password() -> None:
    with pytest.raises(ConfigurationError, match="set THROUGHLINE_FLOWER_PASSWORD"):
        main(made("redis://:pw@host:6379/3"))


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no.such.host.invalid"])
def test_it_says_in_one_line_that_its_address_cannot_be_listened_on(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings.model_construct(
            redis=RedisSettings(), flower=FlowerSettings(host=host, port=port, password=SecretStr("pw"))
        )
        with pytest.raises(ConfigurationError, match=rf"{host}:{port}.*THROUGHLINE_FLOWER_PORT"):
            main(settings)


@pytest.mark.parametrize(
    "url",
    ["redis://:pw@host:6379/3", "rediss://:pw@host/0", "rediss://host/0?ssl_cert_reqs=none", "unix:///run/r.sock"],
)
def test_its_page_of_the_broker_can_be_made_for_every_kind_of_address(url: str) -> None:
    app = create_app(made(url))
    with app.connection() as connection:
        Broker(
            connection.as_uri(include_password=True),
            broker_options=app.conf.broker_transport_options,
            broker_use_ssl=app.conf.broker_use_ssl,
        )
        assert "pw" not in connection.as_uri()


@pytest.mark.parametrize("count", [1, MOST_SHOWN, MOST_SHOWN + 7])
def test_the_arguments_it_shows_are_a_literal_that_names_the_runs(count: int) -> None:
    ids = [f"01a20b17-e19d-74a6-a967-{number:012d}" for number in range(count)]
    shown = ast.literal_eval(shown_arguments("triage", ids))
    assert (shown["pipeline"], shown["runs"], shown["run_ids"]) == ("triage", count, ids[:MOST_SHOWN])
    assert shown.get("more", 0) == max(count - MOST_SHOWN, 0)
