"""Bytes as a person reads them."""


def amount(size_bytes: float) -> str:
    """Return so many bytes for a person, in powers of 1000 as the spec counts."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size_bytes /= 1000
        if size_bytes < 999.5:
            return f"{size_bytes:.3g} {unit}"
    return f"{size_bytes / 1000:,.4g} TB"
