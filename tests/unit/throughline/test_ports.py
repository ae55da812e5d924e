import socket

import pytest

from throughline.embedded import free_port, port_is_free
from throughline.embedded.ports import port_taken


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] >= 1024


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not port_is_free(server.getsockname()[1])


@pytest.mark.parametrize("setting", ["THROUGHLINE_API_PORT", "--postgres-port"])
def test_the_error_names_port_server_and_what_to_set(setting: str) -> None:
    message = str(port_taken(5432, server="postgres", setting=setting))
    assert "5432" in message
    assert "postgres" in message
    assert setting in message
