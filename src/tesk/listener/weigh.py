"""Judge many callbacks that share a transaction. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tesk.listener.heard import Heard, Known, Verdict, judge
from tesk.listener.ledger import Saying
from tesk.tes.state import State

Key = tuple[str, str]
"""Subscription and id."""


class Weighed(NamedTuple):
    """What to record: each move that was news, in order; what is known of each task then; which are to be asked for."""

    verdicts: list[Verdict]
    news: list[Heard]
    last: list[Saying]
    doubted: list[Saying]


def weigh(known: Mapping[Key, Known], sayings: Sequence[Saying]) -> Weighed:
    """Judge in order, each after those before it."""
    seen: dict[Key, Known] = dict(known)
    weighed = Weighed([], [], [], [])
    last: dict[Key, Saying] = {}
    doubted: dict[Key, Saying] = {}
    for saying in sayings:
        heard = saying.heard
        key = heard.subscription, heard.id
        before = seen.get(key)
        verdict = judge(before, heard)
        weighed.verdicts.append(verdict)
        if verdict is Verdict.NEWS:
            # Without a sequence it stands behind what was heard last: a callback with that sequence is no news.
            place = heard.sequence or (before.sequence if before else 0)
            seen[key] = Known(state=heard.state, sequence=place, at=heard.at)
            weighed.news.append(heard)
            last[key] = saying
        elif verdict is Verdict.DOUBTED:
            doubted[key] = saying
            seen.setdefault(key, Known(state=State.UNKNOWN, sequence=0, at=heard.at))
    weighed.last.extend(last.values())
    weighed.doubted.extend(doubted.values())
    return weighed
