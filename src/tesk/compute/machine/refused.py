"""Say that a program could not be run at all, in the task's words and not in those of what was to run it. Pure."""

NOT_FOUND = 127
"""What shells end with for a program that is not there; for one that cannot be executed they end with 126."""


def refused(executor: int, program: str, exit_code: int, where: str) -> str:
    """Return a sentence for `system_logs`. `where` says among which programs it was looked for."""
    if exit_code != NOT_FOUND:
        what = f"{program} cannot be executed"
    elif "/" in program:
        what = f"not found: {program}, or the interpreter that it names"
    else:
        what = f"command not found: {program}"
    return f"executors[{executor}]: {what} ({where})."
