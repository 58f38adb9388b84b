"""What `tesk doctor` finds: one line, and what helps."""

import re
from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. `help` is the one command or setting that helps, "" where nothing needs to be done."""

    level: str
    subject: str
    says: str
    help: str = ""


def with_help(level: str, subject: str, said: str, else_: str = "") -> Finding:
    """Part the sentence of a start that failed from the command that it names; where it names none there is another."""
    parts = re.fullmatch(
        r"(.*?)[;,]? (?:To see more, )?(?:try|start it with): (.+?)\)?", said, re.DOTALL
    ) or re.fullmatch(r"(.*?): run `(.+)`\.?", said, re.DOTALL)
    return Finding(level, subject, *parts.groups()) if parts else Finding(level, subject, said, else_)
