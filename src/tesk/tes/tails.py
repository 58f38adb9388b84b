"""The end of a stream, as an ExecutorLog shows it. Pure."""


def text(tail: bytes, *, cut: bool) -> str:
    """Return the last bytes of a stream as text; what is no UTF-8 is replaced. `cut`: there was more before them.

    Then the text begins with a whole character.
    """
    if cut:
        # At most three bytes belong to a character that began before the cut.
        skip = next((at for at, byte in enumerate(tail[:4]) if byte & 0xC0 != 0x80), 0)
        tail = tail[skip:]
    return tail.decode(errors="replace")
