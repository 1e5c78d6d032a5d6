#!/usr/bin/env python3
"""Makes crates/web/src/api/openapi.json: what the API accepts and answers, as an OpenAPI 3.0.3 document.

Clients that are generated from other people's documents work with this server, so operations, components and their
fields have the names and types that the public Rust client knows; which of them are served is listed in PATHS. The
texts are not taken over. Run it after a new version of that client: `tools/openapi.py`, then the tests.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "crates/web/src/api/openapi.json"


def crud(path, key, *more, used_by=True, only=""):
    """A list and its objects; `only` names the verbs: of `list create retrieve update partial_update destroy`."""
    paths = {f"{path}/": None, f"{path}/{{{key}}}/": None}
    if used_by:
        paths[f"{path}/{{{key}}}/used_by/"] = None
    paths.update({f"{path}/{part}": None for part in more})
    return {name: only.split() for name in paths}


PATHS = {
    **crud("core/users", "id", "me/", "paths/", "service_account/", "{id}/set_password/",
           "{id}/recovery/", "{id}/recovery_email/", "{id}/impersonate/", "impersonate_end/"),
    **crud("core/groups", "group_uuid", "{group_uuid}/add_user/", "{group_uuid}/remove_user/"),
    **crud("core/tokens", "identifier", "{identifier}/view_key/", "{identifier}/set_key/"),
    **crud("core/applications", "slug", "{slug}/check_access/"),
    **crud("core/application_entitlements", "pbm_uuid"),
    **crud("core/authenticated_sessions", "uuid", "bulk_delete/"),
    **crud("core/brands", "brand_uuid", "current/"),
    **crud("core/user_consent", "id"),
    **crud("oauth2/authorization_codes", "id"),
    **crud("oauth2/access_tokens", "id"),
    **crud("oauth2/refresh_tokens", "id"),
    "authenticators/all/": [],
    "enterprise/license/install_id/": [],
    "authenticators/admin/all/": [],
    "authenticators/admin/totp/{id}/": ["destroy"],
    "authenticators/admin/static/{id}/": ["destroy"],
    "authenticators/admin/webauthn/{id}/": ["destroy"],
    **crud("authenticators/webauthn", "id", used_by=False, only="list retrieve update partial_update destroy"),
    **crud("providers/all", "id", "types/"),
    **crud("providers/oauth2", "id", "{id}/setup_urls/", "{id}/preview_user/"),
    **crud("providers/proxy", "id"),
    **crud("policies/all", "policy_uuid", "types/", "{policy_uuid}/test/", "cache_info/", "cache_clear/"),
    **crud("policies/bindings", "policy_binding_uuid"),
    **crud("policies/expression", "policy_uuid"),
    **crud("policies/password", "policy_uuid"),
    **crud("policies/password_expiry", "policy_uuid"),
    **crud("policies/reputation", "policy_uuid"),
    **crud("policies/event_matcher", "policy_uuid"),
    **crud("policies/dummy", "policy_uuid"),
    **crud("policies/reputation/scores", "reputation_uuid"),
    **crud("propertymappings/all", "pm_uuid", "types/", "{pm_uuid}/test/"),
    **crud("propertymappings/provider/scope", "pm_uuid"),
    **crud("sources/all", "slug", "types/"),
    **crud("sources/oauth", "slug", "source_types/"),
    **crud("managed/blueprints", "instance_uuid", "available/", "import/", "{instance_uuid}/apply/"),
    **crud("crypto/certificatekeypairs", "kp_uuid", "generate/", "{kp_uuid}/view_certificate/",
           "{kp_uuid}/view_private_key/"),
    **crud("outposts/instances", "uuid"),
    "outposts/instances/{uuid}/health/": [],
    "outposts/instances/default_settings/": [],
    "outposts/proxy/": [],
    **crud("flows/instances", "slug", used_by=False, only="list retrieve"),
    "flows/executor/{flow_slug}/": [],
    **crud("events/events", "event_uuid", "actions/", used_by=False, only="list create retrieve"),
    "admin/version/": [],
    "admin/system/": [],
    "admin/settings/": [],
    "root/config/": [],
    "schema/": [],
    **crud("rbac/roles", "uuid"),
}
PUBLIC = {"core/brands/current/", "root/config/", "schema/", "flows/executor/{flow_slug}/"}
# The challenges that are posed (CO-303).
CHALLENGES = {
    "ak-stage-identification", "ak-stage-password", "ak-stage-authenticator-validate", "ak-stage-authenticator-totp",
    "ak-stage-authenticator-static", "ak-stage-authenticator-webauthn", "ak-stage-consent", "ak-stage-user-login",
    "ak-stage-email", "ak-stage-prompt", "ak-stage-session-end", "ak-stage-access-denied", "ak-stage-flow-error",
    "ak-provider-iframe-logout", "xak-flow-redirect",
}
PLAIN = {
    "i32": {"type": "integer"},
    "i64": {"type": "integer", "format": "int64"},
    "u32": {"type": "integer", "minimum": 0},
    "u64": {"type": "integer", "format": "int64", "minimum": 0},
    "f32": {"type": "number", "format": "float"},
    "f64": {"type": "number", "format": "double"},
    "bool": {"type": "boolean"},
    "String": {"type": "string"},
    "&str": {"type": "string"},
    "uuid::Uuid": {"type": "string", "format": "uuid"},
    "chrono::DateTime<chrono::FixedOffset>": {"type": "string", "format": "date-time"},
    "chrono::NaiveDate": {"type": "string", "format": "date"},
    "serde_json::Value": {},
    "std::path::PathBuf": {"type": "string", "format": "binary"},
}


def client():
    """Where the client's sources are."""
    told = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked"], cwd=ROOT, check=True,
                          capture_output=True, text=True).stdout
    found = [package for package in json.loads(told)["packages"] if package["name"] == "authentik-client"]
    return Path(found[0]["manifest_path"]).parent / "src"


def inner(text, outer):
    """What stands in `outer<…>`, or None."""
    return text[len(outer) + 1:-1] if text.startswith(outer + "<") and text.endswith(">") else None


class Document:
    def __init__(self, sources):
        self.sources = sources
        self.files = {}
        for file in (sources / "models").glob("*.rs"):
            text = file.read_text()
            for kind, name in re.findall(r"^pub (struct|enum) (\w+)", text, re.M):
                self.files[name] = (kind, text)
        self.components = {}

    def of(self, text):
        """The schema of a Rust type, and whether it may be null."""
        text = text.strip().rstrip(",")
        if (some := inner(text, "Option")) is not None:
            return self.of(some)[0], True
        if (boxed := inner(text, "Box")) is not None:
            return self.of(boxed)
        if (items := inner(text, "Vec")) is not None:
            return {"type": "array", "items": self.of(items)[0]}, False
        if (pair := inner(text, "std::collections::HashMap")) is not None:
            value = self.of(pair.split(",", 1)[1])[0]
            return {"type": "object", "additionalProperties": value}, False
        if text.startswith("models::"):
            return self.reference(text.removeprefix("models::")), False
        return dict(PLAIN[text]), False

    def reference(self, name):
        if name not in self.components:
            self.components[name] = None  # Against circles.
            self.components[name] = self.component(name)
        return {"$ref": f"#/components/schemas/{name}"}

    def component(self, name):
        kind, text = self.files[name]
        body = re.search(rf"^pub {kind} {name} {{\n(.*?)^}}", text, re.M | re.S)[1]
        if kind == "struct":
            return self.object(body)
        if "#[serde(tag" in text:
            choices = {tag: schema for tag, schema in re.findall(r'#\[serde\(rename = "([^"]+)"\)\]\s*\w+\(models::(\w+)\)', body)
                       if tag in CHALLENGES}
            for schema in set(choices.values()):
                self.reference(schema)
                # Which one it is, is said by this word alone.
                words = sorted(tag for tag, named in choices.items() if named == schema)
                self.components[schema]["properties"]["component"] = {"type": "string", "enum": words}
                required = self.components[schema].setdefault("required", [])
                self.components[schema]["required"] = sorted({*required, "component"})
            mapping = {tag: f"#/components/schemas/{schema}" for tag, schema in sorted(choices.items())}
            return {"oneOf": [{"$ref": reference} for reference in dict.fromkeys(mapping.values())],
                    "discriminator": {"propertyName": "component", "mapping": mapping}}
        words = re.findall(r'#\[serde\(rename = "([^"]*)"\)\]', body)
        return {"type": "integer" if all(word.isdigit() for word in words) else "string", "enum": words}

    def object(self, body):
        properties, required = {}, []
        fields = re.findall(r"(#\[serde\((.*?)\)\])\s*pub (?:r#)?\w+: ([^\n]+),\n", body, re.S)
        for _, attributes, rust in fields:
            name = re.search(r'rename = "([^"]+)"', attributes)[1]
            optional = "skip_serializing_if" in attributes
            schema, may_be_null = self.of(rust)
            if optional and rust.startswith("Option<"):
                # The outer option says that it may be missing.
                schema, may_be_null = self.of(inner(rust, "Option"))
            if may_be_null and schema:
                schema = {"allOf": [schema], "nullable": True} if "$ref" in schema else {**schema, "nullable": True}
            properties[name] = schema
            if not optional:
                required.append(name)
        described = {"type": "object", "properties": properties}
        return {**described, "required": sorted(required)} if required else described

    def operations(self):
        paths = {}
        for file in sorted((self.sources / "apis").glob("*_api.rs")):
            tag = file.stem.removesuffix("_api")
            text = file.read_text()
            for name, arguments, answer, code in re.findall(
                    r"^pub async fn (\w+)\(\n(.*?)^\) -> Result<(.*?), Error<\w+>> {\n(.*?)^}", text, re.M | re.S):
                path = re.search(r'"\{\}/([^"]*)"', code)[1]
                verbs = PATHS.get(path)
                if verbs is None or (verbs and not name.endswith(tuple(f"_{verb}" for verb in verbs))):
                    continue
                if verbs and "update" in name and "update" not in verbs:
                    continue
                method = re.search(r"reqwest::Method::(\w+)", code)[1].lower()
                types = dict(re.findall(r"^    (?:r#)?(\w+): (.+),$", arguments, re.M))
                paths.setdefault(f"/{path}", {})[method] = self.operation(name, tag, path, types, answer, code)
        missing = sorted(path for path in PATHS if f"/{path}" not in paths)
        if missing:
            sys.exit(f"the client knows nothing of {missing}")
        return dict(sorted(paths.items()))

    def operation(self, name, tag, path, types, answer, code):
        described = {"operationId": name, "tags": [tag]}
        parameters, form, body = [], {}, None
        for kind, prefixed, argument in re.findall(r"^    let p_(path|query|form|body)_(\w+) = (?:r#)?(\w+);$", code, re.M):
            rust = types[argument]
            schema, may_be_missing = self.of(rust)
            if kind == "body":
                body = {"required": not may_be_missing, "content": {"application/json": {"schema": schema}}}
            elif kind == "form":
                form[prefixed] = schema
            else:
                if prefixed in ("page", "page_size"):
                    schema = {**schema, "minimum": 1}
                where = {"in": kind, "name": prefixed, "required": kind == "path" or not may_be_missing, "schema": schema}
                parameters.append({**where, "explode": True, "style": "form"} if schema.get("type") == "array" else where)
        if form:
            body = {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": form}}}}
        if parameters:
            described["parameters"] = sorted(parameters, key=lambda one: one["name"])
        if body:
            described["requestBody"] = body
        described["security"] = [{"authentik": []}, {}] if path in PUBLIC else [{"authentik": []}]
        described["responses"] = self.responses(name, path, answer, body)
        return described

    def responses(self, name, path, answer, body):
        said = {"400": {"description": "What was sent is not right.", "content": self.json(self.reference("ValidationError"))},
                "403": {"description": "Not allowed.", "content": self.json(self.reference("GenericError"))}}
        if "{" in path:
            said["404"] = {"description": "There is no such object.", "content": self.json(self.reference("GenericError"))}
        elif answer.startswith("models::Paginated"):
            said["404"] = {"description": "There is no such page.", "content": self.json(self.reference("GenericError"))}
        if body:
            said["415"] = {"description": "The body is of another type.", "content": self.json(self.reference("GenericError"))}
        if path in PUBLIC or path.endswith("/recovery_email/"):
            said["429"] = {"description": "Too much, or too many failures: later, as `Retry-After` says.",
                           "content": self.json(self.reference("GenericError"))}
        if answer == "()":
            return {"204": {"description": "Done."}, **said}
        made = name.endswith("_create") and body and path in PATHS and path.count("/") <= 3 and not path.endswith(
            ("service_account/", "generate/", "import/", "test/", "cache_clear/"))
        content = self.json(self.of(answer)[0])
        if path.endswith(("view_certificate/", "view_private_key/")):
            # With `download`.
            content["application/x-pem-file"] = {"schema": {"type": "string"}}
        return {"201" if made else "200": {"description": "The object." if made else "The answer.", "content": content},
                **said}

    @staticmethod
    def json(schema):
        return {"application/json": {"schema": schema}}


def main():
    document = Document(client())
    document.components["GenericError"] = {
        "type": "object", "properties": {"detail": {"type": "string"}, "code": {"type": "string"}}, "required": ["detail"]}
    document.components["ValidationError"] = {
        "type": "object", "properties": {"non_field_errors": {"type": "array", "items": {"type": "string"}},
                                         "code": {"type": "string"}}, "additionalProperties": {}}
    paths = document.operations()
    whole = {
        "openapi": "3.0.3",
        "info": {"title": "Portcullis", "version": "2026.5.0",
                 "description": "The administration API. Lists are paged; errors name the field."},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(document.components.items())),
            "securitySchemes": {"authentik": {"type": "http", "scheme": "bearer"}},
        },
        "servers": [{"url": "/api/v3"}],
    }
    TARGET.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    count = sum(len(methods) for methods in paths.values())
    print(f"{TARGET.relative_to(ROOT)}: {count} operations on {len(paths)} paths, {len(document.components)} components")


if __name__ == "__main__":
    main()
