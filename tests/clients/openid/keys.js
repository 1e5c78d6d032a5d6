// Keys that are kept in a folder, as JWK with their private part.

import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

/** The key of this name, which is made for this algorithm if it is not there yet. */
export function key(folder, kid, alg) {
    const file = path.join(folder, `${kid}.json`);
    if (!existsSync(file)) {
        const pair = alg === "ES256" ? generateKeyPairSync("ec", { namedCurve: "P-256" })
            : generateKeyPairSync("rsa", { modulusLength: 2048 });
        writeFileSync(file, JSON.stringify({ ...pair.privateKey.export({ format: "jwk" }), kid, alg, use: "sig" }));
    }
    return JSON.parse(readFileSync(file, "utf8"));
}

/** What everybody may know of a key. */
export function publicPart({ kty, crv, x, y, n, e, kid, alg, use }) {
    return { kty, crv, x, y, n, e, kid, alg, use };
}
