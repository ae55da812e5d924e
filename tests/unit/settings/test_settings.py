import pytest
from pydantic import ValidationError

from settings import Settings, SettingsError, load_settings, setting_references
from settings.reference import mask_url


def test_a_variable_is_read_into_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_API_MAX_BODY_BYTES", "77")
    monkeypatch.setenv("THROUGHLINE_WORKER_QUEUES", '["slow", "fast"]')
    settings = load_settings()
    assert settings.api.max_body_bytes == 77
    assert settings.worker.queues == ("slow", "fast")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().api.port = 1  # type: ignore[misc]  # the error is the point


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("THROUGHLINE_API_PORT", "http", "THROUGHLINE_API_PORT: "),
        ("THROUGHLINE_API_PORT", "70000", "THROUGHLINE_API_PORT: "),
        ("THROUGHLINE_DATABASE_URL", "mysql://root:hunter2@db/x", "THROUGHLINE_DATABASE_URL: "),
        ("THROUGHLINE_REDIS_URL", "http://:hunter2@cache", "THROUGHLINE_REDIS_URL: "),
        ("THROUGHLINE_WORKER_POOL", "gevent", "THROUGHLINE_WORKER_POOL: "),
        ("THROUGHLINE_WORKER_QUEUES", "hunter2", "THROUGHLINE_WORKER_QUEUES: must be a JSON list"),
        ("THROUGHLINE_WORKER_QUEUES", '"hunter2"', "THROUGHLINE_WORKER_QUEUES: "),
        ("THROUGHLINE_PIPELINES_MODULES", "acme.flows", "THROUGHLINE_PIPELINES_MODULES: must be a JSON list"),
        ("THROUGHLINE_LOG_REDACT", "iban", "THROUGHLINE_LOG_REDACT: must be a JSON list"),
        ("THROUGHLINE_LOG_REDACT", '["iban", ""]', "THROUGHLINE_LOG_REDACT: entry 2 is no field's name"),
        ("THROUGHLINE_LOG_REDACT", '["customer.*"]', "THROUGHLINE_LOG_REDACT: entry 1 is no field's name"),
        ("THROUGHLINE_LOG_REDACT", '["iban", "Id"]', "THROUGHLINE_LOG_REDACT: entry 2 would hide trace_id"),
        ("THROUGHLINE_LOG_REDACT", "[7]", "THROUGHLINE_LOG_REDACT: "),
        (
            "THROUGHLINE_API_FLOWER_URL",
            "hunter2",
            "THROUGHLINE_API_FLOWER_URL: must be an absolute http:// or https://",
        ),
        ("THROUGHLINE_API_FLOWER_URL", "//hunter2/flower", "THROUGHLINE_API_FLOWER_URL: must be an absolute"),
        ("THROUGHLINE_API_FLOWER_URL", "javascript:hunter2", "THROUGHLINE_API_FLOWER_URL: must be an absolute"),
        ("THROUGHLINE_API_FLOWER_URL", "http://f:hunter2port", "THROUGHLINE_API_FLOWER_URL: must be an absolute"),
        ("THROUGHLINE_API_FLOWER_URL", "http://me:hunter2@flower", "THROUGHLINE_API_FLOWER_URL: must hold no name or"),
        (
            "THROUGHLINE_API_TRACE_URL_TEMPLATE",
            "http://hunter2/trace/{trace}",
            "THROUGHLINE_API_TRACE_URL_TEMPLATE: must have {trace_id}",
        ),
        (
            "THROUGHLINE_API_TRACE_URL_TEMPLATE",
            "hunter2/{trace_id}",
            "THROUGHLINE_API_TRACE_URL_TEMPLATE: must be an absolute",
        ),
        ("THROUGHLINE_FLOWER_USER", "hunter2:", "THROUGHLINE_FLOWER_USER: must be printable ASCII without a colon"),
        ("THROUGHLINE_FLOWER_PASSWORD", "hunter2\u00e4", "THROUGHLINE_FLOWER_PASSWORD: must be printable ASCII"),
        ("THROUGHLINE_FLOWER_URL_PREFIX", "x hunter2", "THROUGHLINE_FLOWER_URL_PREFIX: must be a URL path"),
        ("THROUGHLINE_FLOWER_URL_PREFIX", "http://hunter2/flower", "THROUGHLINE_FLOWER_URL_PREFIX: must be a URL path"),
        ("THROUGHLINE_FLOWER_URL_PREFIX", "/hunter2/../flower", "THROUGHLINE_FLOWER_URL_PREFIX: must be a URL path"),
        ("THROUGHLINE_FLOWER_URL_PREFIX", "hunter2//flower", "THROUGHLINE_FLOWER_URL_PREFIX: must be a URL path"),
        ("THROUGHLINE_FLOWER_URL_PREFIX", "/hunter2?flower", "THROUGHLINE_FLOWER_URL_PREFIX: must be a URL path"),
        ("THROUGHLINE_FLOWER_URL_PREFIX", "/hunter2(", "THROUGHLINE_FLOWER_URL_PREFIX: must be a URL path"),
        ("THROUGHLINE_FLOWER_URL_PREFIX", "hunter2\u00e4", "THROUGHLINE_FLOWER_URL_PREFIX: must be a URL path"),
        ("THROUGHLINE_API_PROT", "8000", "did you mean THROUGHLINE_API_PORT?"),
        ("THROUGHLINE_NOTHING_LIKE_IT", "hunter2", "THROUGHLINE_NOTHING_LIKE_IT: no such setting"),
    ],
)
def test_a_mistake_names_the_variable_and_never_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_addresses_for_people_are_taken_as_they_are_and_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    grafana = "https://grafana.example/explore?left=%7B%22query%22:%22{trace_id}%22%7D"
    for variable, value in (("FLOWER_URL", "https://ops.example/flower"), ("TRACE_URL_TEMPLATE", grafana)):
        monkeypatch.setenv(f"THROUGHLINE_API_{variable}", value)
    api = load_settings().api
    assert (api.flower_url, api.trace_url_template) == ("https://ops.example/flower", grafana)
    for variable in ("API_FLOWER_URL", "API_TRACE_URL_TEMPLATE", "FLOWER_PASSWORD"):
        monkeypatch.setenv(f"THROUGHLINE_{variable}", "")
    settings = load_settings()
    assert (settings.api.flower_url, settings.api.trace_url_template, settings.flower.password) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "path"),
    [("flower", "/flower"), ("/ops/flower/", "/ops/flower"), ("/", ""), ("~a-b_c/v1.2", "/~a-b_c/v1.2")],
)
def test_flowers_path_begins_with_a_slash_and_ends_with_none(
    monkeypatch: pytest.MonkeyPatch, given: str, path: str
) -> None:
    monkeypatch.setenv("THROUGHLINE_FLOWER_URL_PREFIX", given)
    assert load_settings().flower.url_prefix == path


def test_every_setting_is_described() -> None:
    undescribed = [reference.variable for reference in setting_references() if len(reference.description) < 15]
    assert undescribed == []


def test_a_secret_is_listed_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", "postgresql://me:hunter2@db:5432/x?password=hunter2")
    monkeypatch.setenv("THROUGHLINE_FLOWER_PASSWORD", "hunter2")
    settings = load_settings()
    shown = {reference.variable: reference.value for reference in setting_references(settings)}
    assert shown["THROUGHLINE_DATABASE_URL"] == "postgresql://me:**********@db:5432/x"
    assert shown["THROUGHLINE_FLOWER_PASSWORD"] == "**********"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter2@db:5432/x?sslmode=require", "postgresql://me:**********@db:5432/x"),
        ("postgresql://me:pa/hunter2@db/x", "postgresql://me:**********@db/x"),
        ("redis://:hun?ter2@redis:6379/0", "redis://:**********@redis:6379/0"),
        ("redis://:hun@ter2@redis/0", "redis://:**********@redis/0"),
        ("postgresql://db/x?password=hunter@2", "postgresql://db/x"),
        ("postgresql://db:5432/x?password=hunter@2", "postgresql://db:**********@2"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("hunter2", "**********"),
    ],
)
def test_a_url_is_shown_without_its_password_however_that_is_written(url: str, shown: str) -> None:
    assert mask_url(url) == shown
