"""Dataclasses from JSON, field by field, as their annotations say."""

import dataclasses
import types
import typing


def from_json(cls, data, where: str):
    """An instance of a dataclass from what `dataclasses.asdict` makes of one; further keys are ignored.

    Fields may be numbers, strings, dicts, lists and tuples of one kind, dataclasses, and any of these or None.

    Args:
        cls: the dataclass.
        data: as json.load returns it.
        where: what to call the data in messages.

    Raises:
        ValueError: names the field that is missing or of another type.
    """
    _require(isinstance(data, dict), where)
    hints, values = typing.get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        if field.name not in data:
            raise ValueError(f"{where}: no '{field.name}'")
        values[field.name] = _value(hints[field.name], data[field.name], f"{where}: '{field.name}'")
    return cls(**values)


def _value(hint, value, where):
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind is types.UnionType:
        return None if value is None else _value(arguments[0], value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)
    if kind in (list, tuple):
        _require(isinstance(value, list), where)
        return kind(_value(arguments[0], item, where) for item in value)
    wanted = (int, float) if hint is float else kind or hint
    _require(isinstance(value, wanted) and isinstance(value, bool) == (hint is bool), where)
    return value


def _require(condition, where):
    if not condition:
        raise ValueError(f"{where} is not as it should be")
