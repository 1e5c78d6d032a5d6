#!/usr/bin/env python3
"""Drives every resource of the API with the Python client, unmodified, as resources.json says.

    PYTHONPATH=where/the/client/is client.py BASE_URL API_TOKEN [keep]

Each resource is made, read, listed, replaced, changed, asked for what uses it, and deleted; whatever was written must
come back as it was written. With `keep` nothing is deleted. Ends with what failed, and exit code 1 then.
"""

import inspect
import json
import re
import sys
from enum import Enum
from pathlib import Path

import authentik_client
from authentik_client.exceptions import ApiException, NotFoundException


class Failed(Exception):
    """Something that is not as it should be."""


def snake(name):
    """`OAuth2ProviderRequest` as the client names an argument: `o_auth2_provider_request`."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def worded(method, name, value):
    """A word of a closed list, where the client's documentation asks for one."""
    named = re.search(rf":type {name}: (\w+)$", method.__doc__ or "", re.M)
    kind = named and getattr(authentik_client, named[1], None)
    return kind(value) if isinstance(kind, type) and issubclass(kind, Enum) else value


class Client:
    def __init__(self, base, token):
        configuration = authentik_client.Configuration(host=f"{base}/api/v3", access_token=token)
        self.transport = authentik_client.ApiClient(configuration)
        self.known = {}
        self.calls = 0

    def wire(self, value):
        """An answer as it was on the wire: the client's own way leaves out what only the server writes."""
        if isinstance(value, list):
            return [self.wire(item) for item in value]
        return value.model_dump(mode="json", by_alias=True) if hasattr(value, "model_dump") else value

    def filled(self, value):
        """A value of the table; `$group.pk` is a member of what was answered before."""
        if isinstance(value, str) and re.fullmatch(r"\$\w+\.\w+", value):
            name, member = value[1:].split(".")
            return self.known[name][member]
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        return value

    def sent(self, name, content):
        """What the client makes of a body: older ones know fewer members."""
        model = getattr(authentik_client, name).model_validate(self.filled(content))
        return model.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def call(self, operation, arguments=(), body=None):
        api = getattr(authentik_client, operation.split("_")[0].capitalize() + "Api")(self.transport)
        method = getattr(api, operation)
        given = dict(self.filled(dict(arguments)))
        if body:
            name, content = body
            given[snake(name)] = getattr(authentik_client, name).model_validate(self.filled(content))
        takes = inspect.signature(method).parameters
        if unknown := set(given) - set(takes):
            raise Failed(f"{operation} takes no {sorted(unknown)}")
        given = {name: worded(method, name, value) for name, value in given.items()}
        self.calls += 1
        return self.wire(method(**given))


def compare(what, wanted, found):
    """All that was written must be there; numbers of instants may be written in another way."""
    if isinstance(wanted, dict) and isinstance(found, dict) and what.count("/") == 0:
        for key, value in wanted.items():
            compare(f"{what}/{key}", value, found.get(key, "(absent)"))
    elif instant(wanted) != instant(found):
        raise Failed(f"{what}: {wanted!r} became {found!r}")


def instant(value):
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", value):
        return re.sub(r"(\.0+)?(Z|\+00:00)$", "Z", value)
    return value


def expected(what, wanted, found):
    for key, value in wanted.items():
        if isinstance(value, dict):
            expected(f"{what}/{key}", value, found[key])
        elif found[key] != value:
            raise Failed(f"{what}/{key}: {found[key]!r} instead of {value!r}")


def everything_but_delete(client, step):
    name, model, key, lookup = step["crud"], step["model"], step["key"], step["lookup"]
    secret = step.get("secret", ())
    def visible(body):
        return {field: value for field, value in client.sent(f"{model}Request", body).items() if field not in secret}

    written = client.filled(step["create"])
    made = client.call(f"{name}_create", body=[f"{model}Request", written])
    client.known[name] = made
    compare(f"{name} created", visible(written), made)
    at = {lookup: made[key]}
    compare(f"{name} read", visible(written), client.call(f"{name}_retrieve", at))

    written = {**written, **client.filled(step["update"])}
    replaced = client.call(f"{name}_update", at, [f"{model}Request", written])
    compare(f"{name} replaced", visible(written), replaced)
    written = {**written, **client.filled(step["patch"])}
    changed = client.call(f"{name}_partial_update", at, [f"Patched{model}Request", step["patch"]])
    compare(f"{name} changed", visible(written), changed)
    client.known[name] = changed
    compare(f"{name} read again", visible(written), client.call(f"{name}_retrieve", at))

    listed(client, step, made[key])
    uses = client.call(f"{name}_used_by_list", at)
    if "used_by" in step and uses != step["used_by"]:
        raise Failed(f"{name} is used by {uses!r}")


def listed(client, step, key):
    name, field = step["crud"], step["key"]
    listing = lambda **asked: client.call(f"{name}_list", asked)
    keys = lambda found: [one[field] for one in found["results"]]
    for filter, value in step["filters"].items():
        if key not in keys(listing(**{filter: value, "page_size": 100})):
            raise Failed(f"{name} is not found by {filter}={value!r}")
    if keys(listing(**step["filters"])) != [key]:
        raise Failed(f"{name} is not the only one by all filters")
    if "search" in step:
        if keys(listing(search=step["search"])) != [key]:
            raise Failed(f"{name} is not found by the search for {step['search']!r}")
        if keys(listing(search="no-such-thing-anywhere")):
            raise Failed(f"{name} is found by a search for nothing")
    order = step["order"]
    up, down = (listing(ordering=sign + order, page_size=100)["results"] for sign in ("", "-"))
    if [one[order] for one in up] != [one[order] for one in down][::-1]:
        raise Failed(f"{name} is not ordered by {order}")
    count, pages = len(up), []
    for number in range(1, count + 1):
        page = listing(ordering=order, page=number, page_size=1)
        pages += keys(page)
        about = page["pagination"]
        if (about["count"], about["current"], about["total_pages"]) != (count, number, count):
            raise Failed(f"{name}: page {number} of {count} says {about}")
    if sorted(map(str, pages)) != sorted(map(str, keys({"results": up}))):
        raise Failed(f"{name}: pages of one hold {pages}")


def delete(client, step):
    name, at = step["crud"], {step["lookup"]: client.known[step["crud"]][step["key"]]}
    client.call(f"{name}_destroy", at)
    try:
        client.call(f"{name}_retrieve", at)
    except NotFoundException:
        return
    raise Failed(f"{name} is there after it was deleted")


def main(base, token, then="delete"):
    client = Client(base, token)
    steps = json.loads(Path(__file__).with_name("resources.json").read_text())
    failures = []

    def attempt(step, action):
        try:
            action(client, step)
        except (Failed, ApiException, AttributeError, KeyError, TypeError, ValueError) as error:
            said = getattr(error, "body", None) or str(error)
            failures.append(f"{step.get('crud') or step['call']}: {type(error).__name__}: {said[:400]}")

    def one_call(client, step):
        answer = client.call(step["call"], step.get("args", {}), step.get("body"))
        if "as" in step:
            client.known[step["as"]] = answer["results"][0] if step["call"].endswith("_list") else answer
        expected(step["call"], step.get("expect", {}), answer)

    for step in steps:
        if "python" in step.get("not", []):
            continue
        attempt(step, everything_but_delete if "crud" in step else one_call)
    for step in reversed(steps) if then != "keep" else ():
        if "crud" in step and step["crud"] in client.known:
            attempt(step, delete)
    print(f"{client.calls} calls, {len(failures)} failures")
    for failure in failures:
        print(f"failed: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
