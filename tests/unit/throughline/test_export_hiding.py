from collections.abc import Iterator

import pytest

from observability.secret_names import HIDDEN
from throughline.export.hiding import Hiding


@pytest.fixture(autouse=True)
def hidden() -> Iterator[None]:
    HIDDEN.set([])
    yield
    HIDDEN.set([])


def test_secrets_go_and_their_shape_stays() -> None:
    hiding = Hiding()
    value = {
        "password": "p",
        "client_secret": {"id": 7, "parts": ["a", None, True]},
        "access_token": None,
        "input_tokens": 12,
        "url": "redis://:pw@host/0",
        "kept": [1, 2.5, "word"],
    }
    assert hiding.hide(value, "data") == {
        "password": "[redacted]",
        "client_secret": {"id": 0, "parts": ["[redacted]", None, True]},
        "access_token": None,
        "input_tokens": 12,
        "url": "redis://:[redacted]@host/0",
        "kept": [1, 2.5, "word"],
    }
    assert hiding.left_out == ["data.password", "data.client_secret", "data.url"]


def test_names_that_the_settings_hide_go_too() -> None:
    HIDDEN.set(["customer.email"])
    hiding = Hiding()
    value = {"customer": [{"email": "ada@example.com"}], "email": "kept@example.com"}
    assert hiding.hide(value, "data") == {"customer": [{"email": "[redacted]"}], "email": "kept@example.com"}
    assert hiding.left_out == ["data.customer.0.email"]
