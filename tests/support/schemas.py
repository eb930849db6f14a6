"""JSON Schemas as an independent library reads them."""

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012


def schemas_within(schema):
    """Return every schema in a schema, with what resolves its references."""

    def walk(resource, resolver):
        yield resource.contents, resolver
        for part in resource.subresources():
            yield from walk(part, resolver.in_subresource(part))

    resource = DRAFT202012.create_resource(schema)
    return list(walk(resource, Registry().resolver_with_root(resource)))


def check_sent(schema):
    """Check that a schema is valid, and refers to nothing that is not there."""
    Draft202012Validator.check_schema(schema)
    for part, resolver in schemas_within(schema):
        if isinstance(part, dict):
            if "$ref" in part:
                resolver.lookup(part["$ref"])
            for reference in part.get("discriminator", {}).get("mapping", {}).values():
                resolver.lookup(reference)
