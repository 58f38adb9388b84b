"""Whole files through `Inside`, for those who try it."""

import os

from tesk.inside import Inside


def read(inside: Inside, path: str) -> bytes:
    with os.fdopen(inside.open(path), "rb") as file:
        return file.read()


def write(inside: Inside, path: str, data: bytes) -> None:
    with os.fdopen(inside.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(data)
