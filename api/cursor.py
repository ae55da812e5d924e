import base64
import binascii
from uuid import UUID

_VERSION = b"\x01"
_BYTES = 17


def encode_cursor(event_id: UUID) -> str:
    """Return the opaque text that stands for "after this event"."""
    return base64.urlsafe_b64encode(_VERSION + event_id.bytes).rstrip(b"=").decode()


def decode_cursor(text: str) -> UUID:
    """Return the event a cursor stands for.

    Raises:
        ValueError: it is none that ``encode_cursor`` made.

    """
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raw = b""
    if len(raw) != _BYTES or raw[:1] != _VERSION or encode_cursor(UUID(bytes=raw[1:])) != text:
        raise ValueError("is no cursor that this server gave out")
    return UUID(bytes=raw[1:])
