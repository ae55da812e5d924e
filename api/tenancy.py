from fastapi import Request

from events import DEFAULT_TENANT


def tenant_of(request: Request) -> str:
    """Say whose request it is: the one place that decides it. Without authentication there is one tenant."""
    del request
    return DEFAULT_TENANT
