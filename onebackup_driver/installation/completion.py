# SPDX-License-Identifier: Apache-2.0
"""The completion of bash for `onebackup`, made from its own argument parser: no option can be missing in it."""

from __future__ import annotations

import argparse

_HEAD = """# bash completion for onebackup; made by its install.sh from the command's own options
_onebackup() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
"""
_TAIL = """    *) words="" ;;
    esac
    case " $words " in
    *" $previous= "*) return ;; # a value follows, and only its owner knows it
    esac
    mapfile -t COMPREPLY < <(compgen -W "${words//=/}" -- "$current")
}
complete -o default -F _onebackup onebackup
"""


def render(parser: argparse.ArgumentParser) -> str:
    """The script. In its lists an option that takes a value ends with `=`."""
    commands = subcommands(parser)
    names = " ".join([*commands, *_options(parser)])
    lines = [f'        mapfile -t COMPREPLY < <(compgen -W "{names}" -- "$current")', "        return", "    fi"]
    lines += _choices(commands)
    lines.append("    case ${COMP_WORDS[1]} in")
    lines += [f'    {name}) words="{" ".join(_options(command))}" ;;' for name, command in commands.items()]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands that --help shows, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            shown = {choice.dest for choice in action._choices_actions}
            return {name: command for name, command in action.choices.items() if name in shown}
    return {}


def _options(parser: argparse.ArgumentParser) -> list[str]:
    found = []
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            found += [f"{name}=" if action.nargs != 0 else name for name in action.option_strings]
    return found


def _choices(commands: dict[str, argparse.ArgumentParser]) -> list[str]:
    """For options with a fixed set of values: those values."""
    lines = []
    for name, command in commands.items():
        for action in command._actions:
            if action.choices and action.option_strings:
                values, options = " ".join(map(str, action.choices)), "|".join(action.option_strings)
                lines += [
                    f"    if [[ ${{COMP_WORDS[1]}} == {name} && $previous == @({options}) ]]; then",
                    f'        mapfile -t COMPREPLY < <(compgen -W "{values}" -- "$current")',
                    "        return",
                    "    fi",
                ]
    return lines
