"""`tesk completion`: a script for bash, zsh or fish that completes words, flags, their choices, and ids of tasks."""

import argparse
from collections.abc import Callable

from tesk.cli.reference import Argument, Word, reference

EPILOG = """\
to use it:
  bash   source <(tesk completion bash)          in ~/.bashrc
  zsh    source <(tesk completion zsh)           in ~/.zshrc
  fish   tesk completion fish > ~/.config/fish/completions/tesk.fish
"""

_IDS = "tesk list -o name --limit 20 2>/dev/null"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the shell's name."""
    parser.epilog = EPILOG
    parser.add_argument("shell", choices=sorted(_SHELLS), help="your shell")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(_SHELLS[args.shell](reference()))
    return 0


def bash(words: tuple[Word, ...]) -> str:
    """Return the script for bash."""
    top = [word for word in words if " " not in word.name]
    cases: list[str] = []
    for word in top:
        cases += [
            f'    {"|".join(f"{word.name}:{flag}" for flag in each.flags)}) COMPREPLY=($(compgen -W "{" ".join(each.choices)}" -- "$current")); return;;'
            for each in word.arguments
            if each.flags and each.choices
        ]
    return "\n".join(
        [
            "_tesk() {",
            '  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} word=${COMP_WORDS[1]} more=""',
            f'  ((COMP_CWORD == 1)) && {{ COMPREPLY=($(compgen -W "{" ".join(word.name for word in top)}" -- "$current")); return; }}',
            '  case "$word:$previous" in',
            *cases,
            "  esac",
            '  case "$word" in',
            *(f'    {word.name}) more="{" ".join(_flags(word) + _values(word, words))}{_ids(word)}";;' for word in top),
            "  esac",
            '  COMPREPLY=($(compgen -W "$more" -- "$current"))',
            "}",
            "complete -o default -F _tesk tesk",
        ]
    )


def zsh(words: tuple[Word, ...]) -> str:
    """Return the script for zsh."""
    top = [word for word in words if " " not in word.name]
    lines = ["#compdef tesk", "_tesk() {", "  local -a offers", "  if (( CURRENT == 2 )); then", "    offers=("]
    lines += [f"      {_quote(f'{word.name}:{word.sentence}')}" for word in top]
    lines += ["    )", "    _describe command offers", "    return", "  fi", '  case "$words[2]:$words[CURRENT-1]" in']
    for word in top:
        for each in word.arguments:
            if each.flags and each.choices:
                names = "|".join(f"{word.name}:{flag}" for flag in each.flags)
                lines.append(f"    {names}) offers=({' '.join(each.choices)}); _describe value offers; return;;")
    lines += ["  esac", "  case $words[2] in"]
    for word in top:
        flags = [_quote(f"{each.flags[-1]}:{each.help}".replace("\\:", ":")) for each in word.arguments if each.flags]
        values = [_quote(each) for each in _values(word, words)]
        ids = f' ${{(f)"$({_IDS})"}} @latest' if _takes_ids(word) else ""
        lines.append(f"    {word.name}) offers=({' '.join(flags + values)}{ids});;")
    return "\n".join([*lines, "  esac", "  _describe argument offers", "  _files", "}", "compdef _tesk tesk"])


def fish(words: tuple[Word, ...]) -> str:
    """Return the script for fish."""
    lines = []
    for word in words:
        if " " in word.name:
            continue
        lines.append(f"complete -c tesk -f -n __fish_use_subcommand -a {word.name} -d {_quote(word.sentence)}")
        seen = _quote(f"__fish_seen_subcommand_from {word.name}")
        for each in word.arguments:
            if not each.flags:
                continue
            names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in each.flags)
            value = f" -x -a {_quote(' '.join(each.choices))}" if each.choices else " -r" if each.value else ""
            lines.append(f"complete -c tesk -n {seen} {names}{value} -d {_quote(each.help)}")
        if values := _values(word, words):
            lines.append(f"complete -c tesk -n {seen} -a {_quote(' '.join(values))}")
        if _takes_ids(word):
            lines.append(f"complete -c tesk -f -n {seen} -a {_quote(f'@latest ({_IDS})')}")
    return "\n".join(lines)


def _flags(word: Word) -> list[str]:
    return [flag for each in word.arguments for flag in each.flags]


def _values(word: Word, words: tuple[Word, ...]) -> list[str]:
    """Return what may stand without a flag: choices, and a word's own words."""
    plain = [choice for each in word.arguments if not each.flags for choice in each.choices]
    return plain + [each.name.partition(" ")[2] for each in words if each.name.startswith(f"{word.name} ")]


def _takes_ids(word: Word) -> bool:
    return any(_is_id(each) for each in word.arguments)


def _is_id(argument: Argument) -> bool:
    return not argument.flags and argument.value == "ID"


def _ids(word: Word) -> str:
    return f" @latest $({_IDS})" if _takes_ids(word) else ""


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_SHELLS: dict[str, Callable[[tuple[Word, ...]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
