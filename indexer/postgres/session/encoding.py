"""Decodes text that is not in its encoding: a SQL_ASCII database and the queries of other databases hold any bytes."""

from __future__ import annotations

import codecs
from typing import Any

from psycopg2.extensions import encodings

LENIENT = "indexer_utf8"
UNCONVERTED = "SQL_ASCII"


def decode_leniently(connection: Any) -> None:
    """Switch a session to the server's raw bytes, in both directions; each byte that is not UTF-8 is a surrogate.

    For a server whose encoding is UTF8 or SQL_ASCII; it converts no text then.
    """
    name = UNCONVERTED.replace("_", "")
    usual = encodings[name]
    codecs.register(_codec)
    try:
        encodings[name] = LENIENT  # psycopg2 reads it once, when the encoding is set
        connection.set_client_encoding(UNCONVERTED)
    finally:
        encodings[name] = usual


def _codec(name: str) -> codecs.CodecInfo | None:
    if name != LENIENT:
        return None
    return codecs.CodecInfo(
        lambda text, errors="": codecs.utf_8_encode(text, "surrogateescape"),
        lambda raw, errors="": codecs.utf_8_decode(raw, "surrogateescape", True),
        name=LENIENT,
    )
