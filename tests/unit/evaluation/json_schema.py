"""Checking a value against a JSON Schema, for the words of JSON Schema that pydantic writes."""

import re

TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
    "number": int | float, "null": type(None),
}  # fmt: skip


def problems_of(value, schema, definitions, where="document"):
    """What the schema objects to, each with its place; empty where the value fits."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        forms = [problems_of(value, form, definitions, where) for form in schema["anyOf"]]
        return [] if [] in forms else [f"{where}: no form fits: {forms}"]
    if "enum" in schema or "const" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return [] if value in allowed else [f"{where}: {value} is not one of {allowed}"]
    kind = schema.get("type")
    if kind is None:
        return []
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{where}: {value!r} is not a {kind}"]
    if kind == "array":
        return _problems_of_list(value, schema, definitions, where)
    return _problems_of_object(value, schema, definitions, where) if kind == "object" else []


def _problems_of_list(values, schema, definitions, where):
    parts = schema.get("prefixItems") or [schema["items"]] * len(values)
    if len(parts) != len(values):
        return [f"{where}: {len(values)} entries"]
    return [
        problem
        for place, (value, part) in enumerate(zip(values, parts, strict=True))
        for problem in problems_of(value, part, definitions, f"{where}[{place}]")
    ]


def _problems_of_object(value, schema, definitions, where):
    problems = [
        f"{where}: {key} is missing" for key in schema.get("required", []) if key not in value
    ]
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        problems.append(f"{where}: {len(value)} keys")
    for key, part in value.items():
        form = _form_of(key, schema)
        if form is False:
            problems.append(f"{where}: the key {key} is unknown")
        elif form is not True:
            problems += problems_of(part, form, definitions, f"{where}.{key}")
    return problems


def _form_of(key, schema):
    if key in schema.get("properties", {}):
        return schema["properties"][key]
    for pattern, form in schema.get("patternProperties", {}).items():
        if re.search(pattern, key):
            return form
    return schema.get("additionalProperties", True)
