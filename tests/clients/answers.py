#!/usr/bin/env python3
"""Reads all that the API shows, and holds it against documents of the same API of other versions, strictly.

    PYTHONPATH=where/the/packages/are answers.py BASE_URL API_TOKEN DOCUMENT…

Clients are made of such documents: what is missing there, null or of another kind, some of them cannot read. Ends with what does
not fit, and exit code 1 then.
"""

import json
import re
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jsonschema_rs
import yaml

# By what objects are named in paths, where that is not `pk`.
KEYS = {
    "core/application_entitlements": "pbm_uuid", "core/applications": "slug", "core/authenticated_sessions": "uuid",
    "core/brands": "brand_uuid", "core/tokens": "identifier", "flows/instances": "slug", "sources/all": "slug",
    "sources/oauth": "slug",
}
# What is needed besides, and what is no object or changes something.
ASKED = {"/authenticators/admin/all/": "user=1", "/providers/oauth2/{id}/preview_user/": "for_user=1"}
LEFT_OUT = {"/core/users/impersonate_end/", "/flows/executor/{flow_slug}/", "/schema/"}


def get(base, token, path):
    request = Request(f"{base}/api/v3/{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except HTTPError as error:
        if error.code == 404:
            return None
        raise


def answers(base, token):
    """Every answer to a question without a body, by path; of objects, each one that a list names."""
    document = get(base, token, "schema/?format=json")
    for path in sorted(path for path, methods in document["paths"].items() if "get" in methods and path not in LEFT_OUT):
        asked = ASKED.get(path, "page_size=100")
        if "{" not in path:
            yield path, get(base, token, f"{path[1:]}?{asked}")
            continue
        place = path[1:].split("/{")[0]
        listed = get(base, token, f"{place}/?page_size=100")
        for found in listed["results"] if isinstance(listed, dict) else listed:
            key = str(found[KEYS.get(place, "pk")])
            answer = get(base, token, re.sub(r"{\w+}", key, path[1:]) + f"?{asked}")
            # Some have no such side, as an application's provider without an application.
            if answer is not None:
                yield path, answer


def strict(schema):
    """A schema of OpenAPI 3.0 as one of JSON Schema."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: strict(part) for name, part in schema.items() if name not in ("discriminator", "nullable")} | {
        "nullable": schema.get("nullable") is True
    }
    return {"anyOf": [schema, {"type": "null"}]} if schema.pop("nullable") else schema


def misfits(document, found):
    document = yaml.load(document, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    components, validators = {"schemas": strict(document["components"]["schemas"])}, {}
    for path, answer in found:
        described = document["paths"].get(path, {}).get("get")
        if described is None:
            yield f"{path} is not described"
            continue
        schema = described["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            continue
        if path not in validators:
            validators[path] = jsonschema_rs.Draft7Validator(
                {**strict(schema), "components": components}, validate_formats=False
            )
        for error in validators[path].iter_errors(answer):
            place = "/".join(re.sub(r"^\d+$", "N", str(part)) for part in error.instance_path)
            yield f"{path} {place}: {error.message[:200]}"


def main(base, token, *documents):
    found, failures = list(answers(base, token)), []
    for name in documents:
        with open(name, encoding="utf-8") as document:
            failures += sorted({f"{name}: {misfit}" for misfit in misfits(document, found)})
    print(f"{len(found)} answers, {len(failures)} failures")
    for failure in failures:
        print(f"failed: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
