import pytest
from celery import Celery
from celery.app.trace import build_tracer
from celery.exceptions import QueueNotFound
from pydantic import SecretStr

from settings import RedisSettings, Settings, WorkerSettings
from worker.app import create_celery
from worker.results import RedisResults


def make(url: str = "redis://:pw@host:6379/3", queues: tuple[str, ...] = ("default", "slow")) -> Celery:
    return create_celery(
        Settings.model_construct(redis=RedisSettings(url=SecretStr(url)), worker=WorkerSettings(queues=queues))
    )


def test_consumes_the_queues_of_the_settings_and_no_other() -> None:
    app = make()
    assert set(app.amqp.queues.consume_from) == {"default", "slow"}
    with pytest.raises(KeyError):
        app.amqp.queues.select(["defualt"])


def test_publishes_to_any_queue_without_an_exchange() -> None:
    route = make().amqp.router.route({"queue": "unheard_of"}, "process_incoming_event")
    assert (route["queue"].name, route["queue"].exchange.name, route["queue"].routing_key) == (
        "unheard_of",
        "",
        "unheard_of",
    )


def test_task_without_a_queue_goes_to_the_first_one() -> None:
    assert make().amqp.router.route({}, "anything")["queue"].name == "default"


def test_missing_default_queue_is_no_excuse() -> None:
    app = make()
    app.conf.task_default_queue = "nowhere"
    with pytest.raises(QueueNotFound):
        app.amqp.router.expand_destination("nowhere")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:pw@host:6379/3", "redis://:pw@host:6379/3"),
        ("rediss://host/0", "rediss://host/0?ssl_cert_reqs=required"),
        ("rediss://host/0?ssl_cert_reqs=none", "rediss://host/0?ssl_cert_reqs=none"),
        ("unix:///run/redis.sock?db=2", "redis+socket:///run/redis.sock?virtual_host=2"),
    ],
)
def test_redis_url_is_written_as_celery_reads_it(url: str, expected: str) -> None:
    assert make(url).conf.broker_url == expected


def test_result_backend_gives_up_soon_and_subscribes_to_nothing() -> None:
    backend = make().backend
    assert isinstance(backend, RedisResults)
    assert backend.connparams["socket_timeout"] <= 2
    assert backend.retry_policy["max_retries"] == 0
    assert backend.on_task_call(None, "id") is None
    assert backend.expires == 300


def test_message_ends_well_though_redis_will_not_even_say_whether_it_has_a_result() -> None:
    app = make("redis://127.0.0.1:1/0")

    @app.task(name="quiet")
    def task() -> int:
        return 1

    traced = build_tracer(task.name, task, app=app)("id", [], {}, {"id": "id", "delivery_info": {}})
    assert (traced.retval, traced.info) == (1, None)


def test_takes_only_json() -> None:
    conf = make().conf
    assert conf.accept_content == conf.result_accept_content == ["json"]
    assert conf.task_serializer == conf.result_serializer == "json"


def test_password_is_in_no_shown_configuration() -> None:
    app = make()
    assert "pw" not in repr(app.conf.table(with_defaults=True, censored=True))
    assert ":pw@" not in app.connection().as_uri() + app.backend.as_uri()
