"""What a setting's type allows, in words; error messages and the reference share them."""

from typing import Any

import msgspec.inspect as inspect

from infra.runtime.settings.values import Secret


def allowed(annotation: Any) -> str:
    """Return what may stand for a setting of this type, such as `whole number, 1 to 65535`."""
    return _words(inspect.type_info(annotation))


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(type=inner, extra_json_schema=schema):
            return str((schema or {}).get("description") or _words(inner))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=least, le=most):
            return f"whole number{_limits(least, most)}"
        case inspect.StrType(min_length=least):
            return "text, not empty" if least else "text"
        case inspect.DictType():
            return "tables"
        case inspect.UnionType(types=types):
            (inner,) = (each for each in types if not isinstance(each, inspect.NoneType))
            return _words(inner)
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case inspect.VarTupleType(item_type=item):
            return f"list; each: {_words(item)}"
        case inspect.CustomType(cls=cls) if cls is Secret:
            return "text, from the environment only"
    raise AssertionError(f"a setting of an undescribed type: {kind}")


def _limits(least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        return f", {least} to {most}"
    if least is not None:
        return f", at least {least}"
    return "" if most is None else f", at most {most}"
