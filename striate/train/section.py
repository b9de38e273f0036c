"""What every section of a run's settings shares: strict types, no unknown keys, and errors in this package's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from striate.errors import ConfigError, InputError, did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table of settings",
    "model_type": "a table of settings",
    "model_attributes_type": "a table of settings",
    "finite_number": "a finite number",
}
_LIMITS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("of at most", "le"),
}


class Section(BaseModel):
    """A group of settings. Raises `ConfigError` where pydantic would raise its own error.

    ``section`` is the table's name in the file, used in messages; "" is the top of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    section: ClassVar[str] = ""

    if not TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None:
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise _explained(error.errors()[0], type(self)) from None


def _explained(detail: ErrorDetails, section: type[Section]) -> InputError:
    """Put pydantic's first complaint into three parts."""
    inner = detail.get("ctx", {}).get("error")
    if isinstance(inner, InputError):  # a nested section, or a check of our own, has explained itself already
        return inner
    kind, context = detail["type"], detail.get("ctx", {})
    # Only the first part of the place is a setting: what follows names the form of it that pydantic tried.
    name = str(detail["loc"][0]) if detail["loc"] else ""
    where = ".".join(part for part in (section.section, name) if part)
    received = f"{where}={detail['input']!r}"
    table = f"[{section.section}]" if section.section else "the configuration"
    if kind == "extra_forbidden":
        return ConfigError(f"only known settings in {table}", received, did_you_mean(name, section.model_fields))
    if kind == "missing":
        return ConfigError(f"{where} to be given", "no such setting", f"Add {name} to {table}.")
    if kind == "union_tag_invalid":
        choices = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
        tag = context["tag"]
        return ConfigError(
            f"{where}.name to be one of {', '.join(choices)}", f"{where}.name={tag!r}", did_you_mean(tag, choices)
        )
    if kind == "literal_error":
        choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
        return ConfigError(
            f"{where} to be one of {', '.join(choices)}", received, did_you_mean(str(detail["input"]), choices)
        )
    if kind in _LIMITS:
        words, key = _LIMITS[kind]
        return ConfigError(f"{where} {words} {context[key]}", received, f"Change {name} in {table}.")
    expected = _KINDS.get(kind, detail["msg"][:1].lower() + detail["msg"][1:])
    return ConfigError(f"{where} to be {expected}", received, f"Change {name} in {table}.")
