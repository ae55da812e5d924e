from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from events import Event
from observability.secret_names import HIDDEN
from throughline.export.hiding import Hiding, without_secrets


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


def test_secrets_in_the_attributes_of_an_event_go_too() -> None:
    hiding, url = Hiding(), "redis://:pw@host/0"
    now = datetime.now(UTC)
    event = Event(event_id=UUID(int=1), ce_id="A-7", type="t", source=url, subject=url, data={}, received_at=now)
    shown = without_secrets(event, hiding, path="event")
    assert (shown.ce_id, shown.source, shown.subject) == ("A-7", "redis://:[redacted]@host/0", shown.source)
    assert hiding.left_out == ["event.source", "event.subject"]
