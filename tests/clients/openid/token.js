// Signs what a test says, with a key of a folder.
//
//     node token.js FOLDER KID:ALG            prints the public key as JWK
//     node token.js FOLDER KID:ALG CLAIMS     prints a JWT with these claims
//     node token.js FOLDER KID:hmac CLAIMS    prints one whose shared secret is the public key, as PEM

import { createHmac, createPublicKey, sign } from "node:crypto";

import { key, publicPart } from "./keys.js";

const [folder, name, claims] = process.argv.slice(2);
const [kid, alg] = name.split(":");
const jwk = key(folder, kid, alg);
const encoded = (value) => Buffer.from(value).toString("base64url");

function signature(text) {
    if (alg === "hmac") {
        const pem = createPublicKey({ key: publicPart(jwk), format: "jwk" }).export({ type: "spki", format: "pem" });
        return createHmac("sha256", pem).update(text).digest();
    }
    return sign("sha256", text, { key: jwk, format: "jwk", dsaEncoding: "ieee-p1363" });
}

if (claims === undefined) {
    process.stdout.write(JSON.stringify(publicPart(jwk)));
} else {
    const header = JSON.stringify({ alg: alg === "hmac" ? "HS256" : alg, kid, typ: "JWT" });
    const text = `${encoded(header)}.${encoded(claims)}`;
    process.stdout.write(`${text}.${signature(Buffer.from(text)).toString("base64url")}`);
}
