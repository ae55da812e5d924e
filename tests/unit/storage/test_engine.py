import asyncpg
import pytest

from storage.engine import is_unavailable


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_what_a_server_that_goes_leaves_behind_passes_by_itself(error: Exception) -> None:
    assert is_unavailable(error)


@pytest.mark.parametrize("error", [asyncpg.UndefinedFunctionError("no such function"), ValueError("ours")])
def test_a_mistake_of_ours_does_not(error: Exception) -> None:
    assert not is_unavailable(error)
