"""What is in an alias file, and everything that is wrong with it, by line."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pgstrata.cli.aliases.files import AliasFile
from pgstrata.cli.near import nearest
from pgstrata.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

    from pgstrata.cli.aliases.files import Use

RUN_KINDS = ("psql", "pgbench", "exec")
FIELDS = ("kind", "image", "args")
_MOST_BYTES = 1 << 20

_TEXT = "tag:yaml.org,2002:str"
_TYPES = {
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "empty",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:seq": "a list",
    "tag:yaml.org,2002:map": "a mapping",
}


class Recipe(NamedTuple):
    """What an alias stands for."""

    kind: str
    image: str | None
    args: tuple[str, ...]
    """What would stand after ``prepare:KIND`` or ``run:KIND``."""


class Fault(NamedTuple):
    """Something wrong with a file."""

    line: int | None
    """From 1; None if it is the whole file."""
    text: str
    remedy: str


def read(alias: AliasFile) -> Recipe:
    """The recipe in a file. Raises ``InvalidArgumentError``, which tells all of its faults."""
    recipe, faults = check(alias)
    if recipe is None or faults:
        first = faults[0]
        raise InvalidArgumentError(
            located(str(alias.path), first),
            remedy=first.remedy,
            details="\n".join(located(alias.path.name, one) for one in faults[1:]) or None,
        )
    return recipe


def located(file: str, fault: Fault) -> str:
    """A fault with where it is, as compilers write it."""
    return f"{file}:{f'{fault.line}:' if fault.line else ''} {fault.text}"


def check(alias: AliasFile) -> tuple[Recipe | None, Sequence[Fault]]:
    """The recipe in a file, as far as there is one, and all that is wrong with it."""
    import yaml

    try:
        root = yaml.compose(_content(alias.path), Loader=yaml.SafeLoader)
    except OSError as error:
        return None, [Fault(None, *_unreadable(alias.path, error))]
    except yaml.YAMLError as error:
        return None, [_not_yaml(error)]
    except RecursionError:
        return None, [Fault(None, "it is nested too deeply", "write kind, image and args")]
    if not isinstance(root, yaml.MappingNode):
        line = None if root is None else root.start_mark.line + 1
        return None, [
            Fault(
                line, "it must be a mapping with kind and args", "write `kind: psql`, `args: […]`"
            )
        ]
    reader = _Reader(alias.use)
    recipe = reader.read(root)
    return recipe, sorted(reader.faults, key=lambda fault: fault.line or 0)


def _content(path: "Path") -> bytes:
    if path.exists() and not path.is_file():
        raise OSError(None, "it is not a file")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(None, f"it has more than {_MOST_BYTES} bytes")
    return content


def _unreadable(path: "Path", error: OSError) -> tuple[str, str]:
    if path.is_symlink() and not path.exists():
        return (
            f"it is a link to {path.readlink()}, which is not there",
            "correct or remove the link",
        )
    return f"it cannot be read: {error.strerror}", "make it a file that you can read, or remove it"


def _not_yaml(error: Any) -> Fault:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return Fault(mark.line + 1 if mark else None, f"it is not YAML: {reason}", "correct it there")


class _Reader:
    """Reads the fields one by one, and goes on after what is wrong."""

    def __init__(self, use: "Use") -> None:
        self._use = use
        self.faults: list[Fault] = []

    def read(self, root: Any) -> Recipe | None:
        found: dict[str, Any] = {}
        for key, value in root.value:
            name = str(key.value) if key.tag == _TEXT else f"({_type(key)})"
            if name not in FIELDS:
                self._fault(key, f'there is no field "{name}"', _meant(name, FIELDS))
            elif name in found:
                self._fault(key, f"{name} is there twice", "keep one of them")
            else:
                found[name] = value
        for name in ("kind", "args"):
            if name not in found:
                remedy = f"write `{name}: {'psql' if name == 'kind' else '[-f, schema.sql]'}`"
                self._fault(root, f"{name} is missing", remedy)
        kind = self._text("kind", found.get("kind"))
        if kind is not None and kind not in (kinds := self._kinds()):
            self._fault(found["kind"], f'there is no kind "{kind}"', _meant(kind, kinds))
        image = self._text("image", found.get("image"))
        args = tuple(self._args(found.get("args")))
        return None if kind is None else Recipe(kind, image, args)

    def _kinds(self) -> Sequence[str]:
        if self._use == "run":
            return RUN_KINDS
        from pgstrata.kinds import plugins

        every, broken = plugins.every()
        # One that cannot be used says why when it is asked for.
        return [*every, *(one.name for one in broken)]

    def _text(self, name: str, node: Any) -> str | None:
        if node is None:
            return None
        if node.tag != _TEXT or not node.value:
            self._fault(node, f"{name} must be text; it is {_type(node)}", f"write `{name}: …`")
            return None
        return str(node.value)

    def _args(self, node: Any) -> Iterator[str]:
        if node is None:
            return
        if not isinstance(node.value, list) or _type(node) != "a list":
            remedy = "write each argument as an item: [-f, schema.sql]"
            self._fault(node, f"args must be a list of strings; it is {_type(node)}", remedy)
            return
        for number, item in enumerate(node.value, 1):
            if item.tag == _TEXT:
                yield str(item.value)
                continue
            scalar = isinstance(item.value, str) and item.value
            remedy = f"quote it: '{item.value}'" if scalar else "write a string"
            text = f"args must be a list of strings; number {number} is {_type(item)}"
            self._fault(item, text, remedy)

    def _fault(self, node: Any, text: str, remedy: str) -> None:
        self.faults.append(Fault(node.start_mark.line + 1, text, remedy))


def _type(node: Any) -> str:
    if node.tag == _TEXT:
        return "text" if node.value else "empty"
    return _TYPES.get(node.tag, f"of the type {node.tag}")


def _meant(word: str, known: Sequence[str]) -> str:
    similar = nearest(word, known)
    return f"did you mean {similar}?" if similar else f"there are: {', '.join(known)}"
