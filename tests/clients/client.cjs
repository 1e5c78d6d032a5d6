// Drives every resource of the API with the JavaScript client, unmodified, as resources.json says.
//
//     node client.cjs BASE_URL API_TOKEN WHERE_THE_CLIENT_IS
//
// The same as client.py: what is written must come back as it was written. Ends with what failed, and exit code 1 then.
"use strict";

const { readFileSync } = require("node:fs");
const { isDeepStrictEqual, inspect } = require("node:util");
const path = require("node:path");

const [base, token, where] = process.argv.slice(2);
const client = require(path.resolve(where));
const steps = JSON.parse(readFileSync(path.join(__dirname, "resources.json"), "utf8"));
const configuration = new client.Configuration({ basePath: `${base}/api/v3`, accessToken: token });
const known = {};
let calls = 0;

class Failed extends Error {}

/** `core_users_list` as the client says it: `coreUsersList`. */
const camel = (name) => name.replace(/_+(\w)/g, (_, letter) => letter.toUpperCase());
const pascal = (name) => name[0].toUpperCase() + name.slice(1);
const uncapital = (name) => name[0].toLowerCase() + name.slice(1);

/** A value of the table; `$group.pk` is a member of what was answered before. */
function filled(value) {
    if (typeof value === "string" && /^\$\w+\.\w+$/.test(value)) {
        const [name, member] = value.slice(1).split(".");
        return known[name][member] ?? known[name][camel(member)];
    }
    if (Array.isArray(value)) return value.map(filled);
    if (value && typeof value === "object") {
        return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filled(item)]));
    }
    return value;
}

/** A body, as the client takes it. */
function request(name, content) {
    const object = client[`${name}FromJSON`](filled(content));
    for (const [key, value] of Object.entries(content)) {
        // Reading JSON leaves out what is null; whoever means it says so.
        if (value === null) object[camel(key)] = null;
    }
    return object;
}

async function call(operation, args = {}, body) {
    const api = new client[`${pascal(operation.split("_")[0])}Api`](configuration);
    const given = {};
    for (const [name, value] of Object.entries(filled(args))) {
        given[camel(name)] = /__(gt|lt)$/.test(name) ? new Date(value) : value;
    }
    if (body) {
        const [name, content] = body;
        given[uncapital(name)] = request(name, content);
    }
    calls += 1;
    return await api[camel(operation)](given);
}

/** The writable part of an object, as it is on the wire. */
const wire = (model, object) => JSON.parse(JSON.stringify(client[`${model}ToJSON`](object)));
const instant = (value) =>
    typeof value === "string" && /^\d{4}-\d\d-\d\dT[\d:]+(\.\d+)?Z$/.test(value) ? value.replace(/\.0+Z$/, "Z") : value;

function compare(what, step, written, object) {
    const found = wire(step.model, object);
    // Older clients know fewer members, and send no others.
    const sent = wire(`${step.model}Request`, request(`${step.model}Request`, written));
    for (const key of Object.keys(written)) {
        if ((step.secret ?? []).includes(key) || sent[key] === undefined) continue;
        if (!isDeepStrictEqual(instant(found[key] ?? null), instant(sent[key]))) {
            throw new Failed(`${step.crud} ${what}/${key}: ${inspect(sent[key])} became ${inspect(found[key])}`);
        }
    }
}

function expected(what, wanted, found) {
    for (const [key, value] of Object.entries(wanted)) {
        const there = found[key] ?? found[camel(key)];
        if (value && typeof value === "object") expected(`${what}/${key}`, value, there);
        else if (there !== value) throw new Failed(`${what}/${key}: ${inspect(there)} instead of ${inspect(value)}`);
    }
}

async function everythingButDelete(step) {
    const { crud: name, model } = step;
    let written = filled(step.create);
    const made = await call(`${name}_create`, {}, [`${model}Request`, written]);
    known[name] = made;
    compare("created", step, written, made);
    const key = made[camel(step.key)];
    const at = { [step.lookup]: key };
    compare("read", step, written, await call(`${name}_retrieve`, at));

    written = { ...written, ...filled(step.update) };
    compare("replaced", step, written, await call(`${name}_update`, at, [`${model}Request`, written]));
    written = { ...written, ...filled(step.patch) };
    known[name] = await call(`${name}_partial_update`, at, [`Patched${model}Request`, step.patch]);
    compare("changed", step, written, known[name]);
    compare("read again", step, written, await call(`${name}_retrieve`, at));

    await listed(step, key);
    const uses = await call(`${name}_used_by_list`, at);
    if (step.used_by && !isDeepStrictEqual(uses, step.used_by)) throw new Failed(`${name} is used by ${inspect(uses)}`);
}

async function listed(step, key) {
    const { crud: name } = step;
    const listing = (asked) => call(`${name}_list`, asked);
    const keys = (found) => found.results.map((one) => one[camel(step.key)]);
    for (const [filter, value] of Object.entries(step.filters)) {
        const found = keys(await listing({ [filter]: value, page_size: 100 }));
        if (!found.includes(key)) throw new Failed(`${name} is not found by ${filter}=${inspect(value)}`);
    }
    if (!isDeepStrictEqual(keys(await listing(step.filters)), [key])) {
        throw new Failed(`${name} is not the only one by all filters`);
    }
    if (step.search) {
        if (!isDeepStrictEqual(keys(await listing({ search: step.search })), [key])) {
            throw new Failed(`${name} is not found by the search for ${step.search}`);
        }
        if (keys(await listing({ search: "no-such-thing-anywhere" })).length) {
            throw new Failed(`${name} is found by a search for nothing`);
        }
    }
    const values = async (sign) => {
        const found = await listing({ ordering: `${sign}${step.order}`, page_size: 100 });
        return found.results.map((one) => one[camel(step.order)]);
    };
    const up = await values("");
    if (!isDeepStrictEqual(up, (await values("-")).reverse())) throw new Failed(`${name} is not ordered by ${step.order}`);
    const first = await listing({ ordering: step.order, page: 1, page_size: 1 });
    if (first.pagination.count !== up.length || first.results.length !== 1) {
        throw new Failed(`${name}: the first page of one says ${inspect(first.pagination)}`);
    }
}

async function remove(step) {
    const at = { [step.lookup]: known[step.crud][camel(step.key)] };
    await call(`${step.crud}_destroy`, at);
    try {
        await call(`${step.crud}_retrieve`, at);
    } catch (error) {
        if (error.response?.status === 404) return;
        throw error;
    }
    throw new Failed(`${step.crud} is there after it was deleted`);
}

async function oneCall(step) {
    const answer = await call(step.call, step.args, step.body);
    if (step.as) known[step.as] = step.call.endsWith("_list") ? answer.results[0] : answer;
    expected(step.call, step.expect ?? {}, answer);
}

async function main() {
    const failures = [];
    const attempt = async (step, action) => {
        try {
            await action(step);
        } catch (error) {
            const body = error.response ? `${error.response.status} ${await error.response.text()}` : error.message;
            failures.push(`${step.crud ?? step.call}: ${error.name}: ${body}`);
        }
    };
    const ours = steps.filter((step) => !step.not?.includes("javascript"));
    for (const step of ours) await attempt(step, step.crud ? everythingButDelete : oneCall);
    for (const step of [...ours].reverse()) {
        if (step.crud && known[step.crud]) await attempt(step, remove);
    }
    console.log(`${calls} calls, ${failures.length} failures`);
    failures.forEach((failure) => console.log(`failed: ${failure}`));
    process.exitCode = failures.length ? 1 : 0;
}

main();
