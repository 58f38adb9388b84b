"""How long to wait before another try: doubling, bounded, spread out. Pure."""


def delay_seconds(failures: int, base_seconds: float, longest_seconds: float, chance: float) -> float:
    """Return the wait after one more failure than `failures`: a share `chance` (0 to 1) of base * 2^failures.

    Full jitter: with `chance` at random, a thousand that failed together come back spread over the whole time.
    """
    # 2^60 bases are longer than any bound; a greater exponent would only overflow.
    return chance * min(longest_seconds, base_seconds * 2.0 ** min(failures, 60))
