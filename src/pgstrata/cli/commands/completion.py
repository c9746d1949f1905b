"""``completion``: a shell's script for completion, and what that asks for."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.errors import InvalidArgumentError

ABOUT = """
Prints a script for bash, zsh or fish that completes commands, options, and the ids and names there
are. It asks a running engine for these, for a second at most, and never starts one.
"""

ASKED = "of"
"""The first word of what the scripts ask."""

_BASH = r"""
_pgstrata() {
    local line=${COMP_LINE:0:COMP_POINT} current before
    local -a typed
    read -ra typed <<< "$line"
    [[ $line == *[[:space:]] ]] && typed+=("")
    current=${typed[${#typed[@]}-1]}
    # Only what follows the last of these is replaced.
    before=${current%"${current##*[:=]}"}
    mapfile -t COMPREPLY < <("${typed[0]}" completion of -- "${typed[@]:1}" 2>/dev/null | cut -f 1)
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
}
complete -o default -F _pgstrata pgstrata
"""

_ZSH = r"""
#compdef pgstrata
_pgstrata() {
    local -a found values shown
    found=("${(@f)$(pgstrata completion of -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -z $found ]]; then
        _files
        return
    fi
    values=("${(@)found%%$'\t'*}")
    shown=("${(@)found/$'\t'/  }")
    compadd -l -d shown -a values
}
if [[ $funcstack[1] == _pgstrata ]]; then
    _pgstrata "$@"
else
    compdef _pgstrata pgstrata
fi
"""

_FISH = r"""
function __pgstrata_complete
    set -l before (commandline -opc)
    set -l found (pgstrata completion of -- $before[2..] (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c pgstrata -f -a '(__pgstrata_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def run(context: Context, given: Given) -> int:
    """Print the script, or what completes the words."""
    if given.words[:1] == (ASKED,):
        from pgstrata.cli.completing import candidates

        typed = given.words[2:] if given.words[1:2] == ("--",) else given.words[1:]
        for value, about in candidates(context.configuration, typed):
            print(f"{value}\t{about}" if about else value)
        return 0
    if len(given.words) != 1 or given.words[0] not in SCRIPTS:
        raise InvalidArgumentError(
            "completion needs the name of a shell", remedy=f"one of: {', '.join(SCRIPTS)}"
        )
    print(SCRIPTS[given.words[0]].strip())
    return 0


COMMAND = Command(
    usage="completion bash|zsh|fish",
    about=ABOUT,
    options=(),
    examples=(
        'eval "$(pgstrata completion bash)"                     # in ~/.bashrc',
        'eval "$(pgstrata completion zsh)"                      # in ~/.zshrc, after compinit',
        "pgstrata completion fish > ~/.config/fish/completions/pgstrata.fish",
    ),
    run=run,
    passes_on=True,
)
