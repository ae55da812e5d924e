import re
from urllib.parse import urlsplit

_SEGMENTS = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")


def check_web_address(value: str) -> str:
    """Return ``value`` if a browser can open it: an absolute http(s) URL, without credentials, which would be shown.

    Raises:
        ValueError: it isn't one; the message doesn't repeat it.

    """
    message = "must be an absolute http:// or https:// URL, such as http://127.0.0.1:5555"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(message) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError(message)
    if "@" in parts.netloc:
        message = "must hold no name or password: it is shown to whoever reads events"
        raise ValueError(message)
    return value


def check_path(value: str) -> str:
    """Return the URL path ``value`` with a slash before it and none behind, or "" for the root.

    Raises:
        ValueError: it holds what would have to be quoted, or ``.``, ``..`` or nothing between two slashes.

    """
    path = value.strip("/")
    if not path:
        return ""
    if not _SEGMENTS.fullmatch(path) or {".", ".."} & set(path.split("/")):
        message = "must be a URL path of letters, digits and -._~ between slashes, such as /flower"
        raise ValueError(message)
    return f"/{path}"
