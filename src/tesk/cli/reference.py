"""All words of the command with their arguments, as values: completion and the docs are made from them."""

import argparse
from dataclasses import dataclass

from tesk.cli.main import COMMANDS, EPILOG, parser_of


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. `flags` are empty where it has no name; `value` is the word for its value, "" where it takes none."""

    flags: tuple[str, ...]
    value: str
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """One word: `tesk NAME`. `epilog` is what stands below its help."""

    name: str
    sentence: str
    usage: str
    arguments: tuple[Argument, ...]
    epilog: str = ""


def reference() -> tuple[Word, ...]:
    """Return all words, in the order of the help; those of a word's own (`database prune`) follow it."""
    return tuple(each for name, (_, sentence) in COMMANDS.items() for each in _words(name, sentence, parser_of(name)))


def markdown() -> str:
    """Return the reference of the command as Markdown: a section for each word, and the exit codes."""
    lines: list[str] = []
    for word in reference():
        lines += [f"## `tesk {word.name}`", "", f"{word.sentence[:1].upper()}{word.sentence[1:]}.", ""]
        lines += ["```text", word.usage, "```", ""]
        for argument in word.arguments:
            names = ", ".join(f"`{flag}`" for flag in argument.flags)
            value = f"`{argument.value}`" if argument.value else ""
            lines += [" ".join(part for part in (names, value) if part), f": {argument.help or argument.value}", ""]
        if word.epilog:
            lines += ["```text", word.epilog.strip(), "```", ""]
    return "\n".join([*lines, "## Exit codes and variables", "", "```text", EPILOG.strip(), "```", ""])


def _words(name: str, sentence: str, parser: argparse.ArgumentParser) -> list[Word]:
    arguments: list[Argument] = []
    inner: list[Word] = []
    for action in parser._actions:  # noqa: SLF001  argparse shows its arguments in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  likewise
            helps = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001  likewise
            for key, sub in action.choices.items():
                inner += _words(f"{name} {key}", helps.get(key, ""), sub)
        elif action.dest != "help":
            arguments.append(_argument(action))
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return [Word(name, sentence, usage, tuple(arguments), parser.epilog or ""), *inner]


def _argument(action: argparse.Action) -> Argument:
    choices = tuple(str(each) for each in action.choices or ())
    metavar = action.metavar if isinstance(action.metavar, str) else None
    value = "" if action.nargs == 0 else metavar or "|".join(choices) or action.dest.upper()
    return Argument(tuple(action.option_strings), value, action.help or "", choices)
