import httpx
import pytest

from throughline.client import ApiRefused, ApiUnreachable, Client

PROBLEM = {"content-type": "application/problem+json"}


def client(answer: httpx.Response) -> Client:
    return Client("http://api.example", transport=httpx.MockTransport(lambda _: answer))


@pytest.mark.parametrize("url", ["http://[::1", "http://a\x01b", "nonsense", "ftp://api.example"])
def test_a_url_that_is_none_is_told_and_not_raised_through(url: str) -> None:
    with pytest.raises(ApiUnreachable), Client(url) as wrong:
        wrong.event("1")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="# HELP process_virtual_memory_bytes"),
        httpx.Response(200, json=["events"]),
        httpx.Response(200, json={"workers": []}),
        httpx.Response(404, json={"errors": ["no such page"]}),
    ],
)
def test_an_answer_of_something_else_is_told_from_the_apis(answer: httpx.Response) -> None:
    with pytest.raises(ApiRefused, match=r"not (from )?Throughline's API"):
        list(client(answer).events(limit=1))


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (
            {
                "detail": "status: is none",
                "errors": [{"field": "status", "message": "is none"}, {"field": "limit", "message": "is too large"}],
            },
            "HTTP 422: status: is none; limit: is too large",
        ),
        ({"title": "Not valid", "detail": "The body is not JSON."}, "HTTP 422: The body is not JSON."),
        ({"title": "Not valid"}, "HTTP 422: Not valid"),
    ],
)
def test_a_problem_is_one_line_that_says_each_field_once(problem: dict[str, object], said: str) -> None:
    with pytest.raises(ApiRefused) as caught:
        client(httpx.Response(422, json=problem, headers=PROBLEM)).event("1")
    assert str(caught.value) == said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", 10**400])
def test_what_strict_json_cant_say_is_left_to_the_api_to_judge(value: object) -> None:
    refused = httpx.Response(400, json={"detail": "The body is not JSON."}, headers=PROBLEM)
    with pytest.raises(ApiRefused, match="HTTP 400: The body is not JSON"):
        client(refused).send({"type": "a", "data": {"x": value}})
