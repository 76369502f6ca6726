"""Protobuf messages made of short tables: what gRPC carries between us and real clients.

A table names only the fields that we read or send; what else arrives is kept and passed on by
the library (proto3, "Unknown Fields").  Needs the extra ``ocimagic[grpc]``.

    message Descriptor
      1 media_type string
      2 digest string
      5 annotations {string string}
      6 platforms [Platform]
      7 made .google.protobuf.Timestamp

Types are proto3's scalars (an enum is ``int32``, which is the same on the wire), a message of
the same package, or with a leading dot the full name of one in another package.
"""

from collections.abc import Mapping
from types import SimpleNamespace

from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, empty_pb2, timestamp_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_FIELD = descriptor_pb2.FieldDescriptorProto
_WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, timestamp_pb2)
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}


def message_classes(tables: Mapping[str, str]) -> dict[str, SimpleNamespace]:
    """Return the message classes of some packages; each may refer to those before it.

    Args:
        tables: a package's name (``containerd.types``) -> its table, as above.

    Returns:
        The package's name -> its classes, as attributes: ``found["containerd.types"].Descriptor``;
        those that fields of the well-known types take are in ``found["google.protobuf"]``.

    Raises:
        ValueError: a line of a table cannot be read.
    """
    pool = DescriptorPool()
    for module in _WELL_KNOWN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    known = [module.DESCRIPTOR.name for module in _WELL_KNOWN]
    found = {"google.protobuf": SimpleNamespace()}
    for module in _WELL_KNOWN:
        described = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        _give(found["google.protobuf"], pool, described)
    for package, table in tables.items():
        described = _file(package, table, known)
        pool.Add(described)
        known.append(described.name)
        _give(found.setdefault(package, SimpleNamespace()), pool, described)
    return found


def _give(
    namespace: SimpleNamespace, pool: DescriptorPool, described: descriptor_pb2.FileDescriptorProto
) -> None:
    """Give a namespace the classes of a file."""
    for each in described.message_type:
        descriptor = pool.FindMessageTypeByName(f"{described.package}.{each.name}")
        setattr(namespace, each.name, GetMessageClass(descriptor))


def _file(package: str, table: str, known: list[str]) -> descriptor_pb2.FileDescriptorProto:
    described = descriptor_pb2.FileDescriptorProto(
        name=f"ocimagic/{package}.proto", package=package, syntax="proto3", dependency=known
    )
    message = None
    for line in table.splitlines():
        words = line.split(maxsplit=2)
        if not words:
            continue
        if len(words) == 2 and words[0] == "message":
            message = described.message_type.add(name=words[1])
        elif len(words) == 3 and words[0].isdecimal() and message is not None:
            _add_field(message, int(words[0]), words[1], words[2], package)
        else:
            raise ValueError(f"{package}: cannot read {line.strip()!r}")
    return described


def _add_field(
    message: descriptor_pb2.DescriptorProto, number: int, name: str, kind: str, package: str
) -> None:
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if kind.startswith("{") and kind.endswith("}"):
        key, value = kind[1:-1].split()
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, 1, "key", key, package)
        _add_field(entry, 2, "value", value, package)
        field.label, kind = _FIELD.LABEL_REPEATED, f".{package}.{message.name}.{entry.name}"
    elif kind.startswith("[") and kind.endswith("]"):
        field.label, kind = _FIELD.LABEL_REPEATED, kind[1:-1]
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = kind if kind.startswith(".") else f".{package}.{kind}"
