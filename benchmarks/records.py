"""Dataclasses that are read from JSON field by field, as their annotations say."""

import dataclasses
import types
import typing


class Record:
    """A dataclass of numbers, strings, lists, tuples and dicts of one kind, dataclasses, and these or None."""

    def to_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data, where: str = "the record"):
        """What `to_json` made this of; further keys are ignored.

        Raises:
            ValueError: names the field of `where` that is missing or of another type.
        """
        return _value(cls, data, where)


def _value(hint, value, where):
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind is types.UnionType:
        return None if value is None else _value(arguments[0], value, where)
    wanted = (
        dict
        if dataclasses.is_dataclass(hint)
        else {float: (int, float), tuple: list}.get(kind or hint, kind or hint)
    )
    if not isinstance(value, wanted) or isinstance(value, bool) != (hint is bool):
        raise ValueError(f"{where} is not as it should be")
    if dataclasses.is_dataclass(hint):
        return _instance(hint, value, where)
    if kind in (list, tuple):
        return kind(_value(arguments[0], item, where) for item in value)
    if kind is dict:
        return {key: _value(arguments[1], item, f"{where}: '{key}'") for key, item in value.items()}
    return value


def _instance(cls, data, where):
    hints, values = typing.get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        if field.name not in data:
            if field.default is dataclasses.MISSING:
                raise ValueError(f"{where}: no '{field.name}'")
            continue  # it came after the file was written
        values[field.name] = _value(hints[field.name], data[field.name], f"{where}: '{field.name}'")
    return cls(**values)
