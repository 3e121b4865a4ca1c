"""Writes ``src/wire.ts`` from ``jupyter_remote.wire``; ``--check`` says whether it is stale."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec.inspect as inspect

from jupyter_remote import wire

TARGET = Path(__file__).parent / "src" / "wire.ts"
ROOTS = (
    wire.JobList,
    wire.JobOutputs,
    wire.HistoryReply,
    wire.Receipt,
    wire.SessionList,
    wire.MachineList,
    wire.InstanceList,
    wire.PlanReply,
    wire.AccountSummary,
    wire.Problem,
    wire.PageSession,
)
HEAD = "// Made by generate.py from jupyter_remote.wire; do not edit.\n"


def text_of_type(kind: inspect.Type) -> str:
    """How TypeScript writes a type of msgspec."""
    match kind:
        case inspect.StrType():
            return "string"
        case inspect.IntType() | inspect.FloatType():
            return "number"
        case inspect.BoolType():
            return "boolean"
        case inspect.NoneType():
            return "null"
        case inspect.LiteralType(values):
            return " | ".join(f'"{value}"' for value in values)
        case inspect.ListType(item):
            inner = text_of_type(item)
            return f"({inner})[]" if "|" in inner else f"{inner}[]"
        case inspect.TupleType(items):
            return f"[{', '.join(map(text_of_type, items))}]"
        case inspect.DictType(_, value):
            return f"Record<string, {text_of_type(value)}>"
        case inspect.UnionType(types):
            return " | ".join(map(text_of_type, types))
        case inspect.StructType(cls):
            return cls.__name__
        case inspect.Metadata(inner):
            return text_of_type(inner)
        case inspect.EnumType():
            return "string"
        case _:
            return "unknown"


def structs_in(kind: inspect.Type, found: dict[str, inspect.StructType]) -> None:
    """All structs that ``kind`` is made of."""
    if isinstance(kind, inspect.StructType):
        if kind.cls.__name__ in found:
            return
        found[kind.cls.__name__] = kind
        parts = [field.type for field in kind.fields]
    else:
        names = ("item_type", "value_type", "type")
        parts = [part for name in names if (part := getattr(kind, name, None)) is not None]
        parts += [*getattr(kind, "types", ()), *getattr(kind, "item_types", ())]
    for part in parts:
        structs_in(part, found)


def generated() -> str:
    """The whole file."""
    found: dict[str, inspect.StructType] = {}
    for root in ROOTS:
        structs_in(inspect.type_info(root), found)
    blocks = []
    for name, struct in sorted(found.items()):
        omitted = struct.cls.__struct_config__.omit_defaults
        lines = [
            f"  {field.encode_name}{'?' if omitted and not field.required else ''}: "
            f"{text_of_type(field.type)};"
            for field in struct.fields
        ]
        blocks.append("\n".join([f"export interface {name} {{", *lines, "}"]))
    return HEAD + "\n" + "\n\n".join(blocks) + "\n"


def main() -> None:
    if "--check" not in sys.argv:
        TARGET.write_text(generated())
    elif TARGET.read_text() != generated():
        sys.exit(f"{TARGET} is stale: run python labextension/generate.py")


if __name__ == "__main__":
    main()
