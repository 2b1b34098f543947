"""Schemas of OpenAPI documents (3.0's own dialect, 3.1's JSON Schema) → JSON Schema 2020-12. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

LOCAL: Final = "#/"
DROPPED: Final = frozenset({"discriminator", "xml", "externalDocs", "example", "examples", "nullable", "deprecated"})
"""Keywords of OpenAPI that say nothing about which values are valid, or are translated."""
NAMED: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose value maps names of the user's to schemas: a property may be called ``example``."""
LITERAL: Final = frozenset({"enum", "const", "default", "required"})
"""Keywords whose value is no schema."""
DEPTH: Final = 50
"""References to references; more is a circle."""


def resolve(document: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """The mapping, or what its ``$ref`` stands for within the document; {} for what leads nowhere."""
    for _ in range(DEPTH):
        if not isinstance(value, Mapping):
            return {}
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return dict(value)
        value = _at(document, reference)
    return {}


class Schemas:
    """The schemas of one place, and what they refer to."""

    def __init__(self, document: Mapping[str, Any], *, unsent: str = "") -> None:
        """``unsent``: properties with this word, ``readOnly`` or ``writeOnly``, are not sent in this direction: they
        are neither declared nor required."""
        self._document = document
        self._unsent = unsent
        self._names: dict[str, str] = {}
        """Reference → name among the definitions."""
        self._definitions: dict[str, Any] = {}

    def schema(self, value: Any) -> dict[str, Any]:
        """The schema in today's dialect; references lead to the definitions of ``complete``."""
        if not isinstance(value, Mapping):
            return {} if value is not False else {"not": {}}
        if isinstance(value.get("$ref"), str):
            return {"$ref": f"#/$defs/{self._define(value['$ref'])}"}
        made = {key: self._keyword(key, given) for key, given in self._sent(value).items() if _counts(key)}
        _modern_bounds(made)
        if value.get("nullable") is True:
            return _or_null(made)
        return made

    def _sent(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The schema without what is not sent in this direction."""
        unsent = self._unsent_of(value, 0)
        if not unsent:
            return dict(value)
        kept = dict(value)
        if isinstance(value.get("properties"), Mapping):
            kept["properties"] = {name: each for name, each in value["properties"].items() if name not in unsent}
        if isinstance(value.get("required"), list):
            kept["required"] = [name for name in value["required"] if name not in unsent]
        if isinstance(value.get("allOf"), list):
            # what one of them declares another may require
            kept["allOf"] = [_not_requiring(each, unsent) for each in value["allOf"]]
        return kept

    def _unsent_of(self, value: Any, depth: int) -> frozenset[str]:
        """The properties, of the schema itself and of all that it is made of, that are not sent."""
        schema = resolve(self._document, value)
        if not self._unsent or depth > DEPTH:
            return frozenset()
        found: set[str] = set()
        properties = schema.get("properties")
        for name, declared in properties.items() if isinstance(properties, Mapping) else ():
            own = isinstance(declared, Mapping) and declared.get(self._unsent) is True
            if own or resolve(self._document, declared).get(self._unsent) is True:
                found.add(str(name))
        for each in schema["allOf"] if isinstance(schema.get("allOf"), list) else ():
            found |= self._unsent_of(each, depth + 1)
        return frozenset(found)

    def complete(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema with the definitions that it, and they, refer to."""
        return {**schema, "$defs": self._definitions} if self._definitions else schema

    def _define(self, reference: str) -> str:
        if reference not in self._names:
            wanted = reference.rpartition("/")[2].replace("~1", "_").replace("~0", "_").replace("%", "_") or "schema"
            name, number = wanted, 2
            while name in self._definitions:
                name, number = f"{wanted}_{number}", number + 1
            self._names[reference] = name
            self._definitions[name] = {}  # its place is taken before what it refers to is looked at: that may be itself
            self._definitions[name] = self.schema(_at(self._document, reference))
        return self._names[reference]

    def _keyword(self, key: str, given: Any) -> Any:
        if key in LITERAL:
            return given
        if key in NAMED and isinstance(given, Mapping):
            return {str(name): self.schema(each) for name, each in given.items()}
        if isinstance(given, Mapping):
            return self.schema(given)
        if isinstance(given, list):
            return [self.schema(each) if isinstance(each, Mapping) else each for each in given]
        return given


def _not_requiring(schema: Any, names: frozenset[str]) -> Any:
    if not isinstance(schema, Mapping) or not isinstance(schema.get("required"), list):
        return schema
    return {**schema, "required": [name for name in schema["required"] if name not in names]}


def _at(document: Mapping[str, Any], reference: str) -> Any:
    """The target of a local reference; {}, which any value fits, for one that leads nowhere or into another file."""
    if not reference.startswith(LOCAL):
        return {}
    place: Any = document
    for part in reference.removeprefix(LOCAL).split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        place = place.get(key, {}) if isinstance(place, Mapping) else {}
    return place


def _counts(key: str) -> bool:
    return key not in DROPPED and not key.startswith("x-")


def _modern_bounds(schema: dict[str, Any]) -> None:
    """3.0 has ``exclusiveMinimum: true`` beside the minimum; today it is the bound itself."""
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(exclusive) is True and inclusive in schema:
            schema[exclusive] = schema.pop(inclusive)
        elif isinstance(schema.get(exclusive), bool):
            del schema[exclusive]


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
