// A client of ours: openid-client, unmodified, which checks all that a client can check.
//
//     node client.js WHERE_THE_PACKAGES_ARE SETTINGS               prints where to send a person, and what to keep
//     node client.js WHERE_THE_PACKAGES_ARE SETTINGS KEPT ADDRESS  goes on at the address where that person came back
//
// All but the folder is JSON: of SETTINGS, `issuer`, `id`, `secret`, `how` (`basic`, `post`, `key`, `none`), `alg`, `back` and
// `bye`; with `key`, `signs` is a file with the JWK that the client proves itself with, and `opens` a private key in PEM for
// tokens that are encrypted. Such a client exchanges its token, too. Prints what it learned.

import { createHash, createPrivateKey, createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";

import { from } from "./packages.js";

const [packages, settings, kept, address] = process.argv.slice(2);
const { issuer, id, secret, how, alg, back, bye, signs, opens } = JSON.parse(settings);
const client = await from(packages, "openid-client");

/** The key of a client, for its assertions. */
async function own(file) {
    const { kty, crv, x, y, d, kid } = JSON.parse(readFileSync(file, "utf8"));
    const algorithm = { name: "ECDSA", namedCurve: crv };
    return { key: await crypto.subtle.importKey("jwk", { kty, crv, x, y, d }, algorithm, false, ["sign"]), kid };
}

/** The key that opens what is encrypted to the client, by the name that it has everywhere (RFC 7638). */
async function opening(pem) {
    const { e, n } = createPublicKey(pem).export({ format: "jwk" });
    const kid = createHash("sha256").update(JSON.stringify({ e, kty: "RSA", n })).digest("base64url");
    const der = createPrivateKey(pem).export({ type: "pkcs8", format: "der" });
    const algorithm = { name: "RSA-OAEP", hash: "SHA-256" };
    return { key: await crypto.subtle.importKey("pkcs8", der, algorithm, false, ["decrypt"]), kid, alg: "RSA-OAEP-256" };
}

const ownKey = signs === undefined ? undefined : await own(signs);
const authentication = {
    key: () => client.PrivateKeyJwt(ownKey),
    basic: () => client.ClientSecretBasic(secret),
    post: () => client.ClientSecretPost(secret),
    none: () => client.None(),
}[how]();
const config = await client.discovery(
    new URL(issuer),
    id,
    { ...(how === "key" ? {} : { client_secret: secret }), id_token_signed_response_alg: alg },
    authentication,
    { execute: [client.allowInsecureRequests] },
);
// The signature is checked, too, and not only where the token came from.
if (alg !== "HS256") client.enableNonRepudiationChecks(config);
if (opens !== undefined) {
    client.enableDecryptingResponses(config, ["A256CBC-HS512"], await opening(opens));
}
const tell = (what) => process.stdout.write(JSON.stringify(what));

/** What is said when something is refused. */
async function refusal(asked) {
    try {
        await asked;
        return "nothing was refused";
    } catch (error) {
        return error.error ?? error.cause?.[0]?.parameters?.error ?? `${error}`;
    }
}

if (kept === undefined) {
    const verifier = client.randomPKCECodeVerifier();
    const [state, nonce] = [client.randomState(), client.randomNonce()];
    const url = client.buildAuthorizationUrl(config, {
        redirect_uri: back,
        scope: "openid profile email",
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
        max_age: "3600",
        state,
        nonce,
    });
    tell({ url: url.href, kept: { verifier, state, nonce } });
} else {
    const { verifier, state, nonce } = JSON.parse(kept);
    const checks = {
        pkceCodeVerifier: verifier,
        expectedState: state,
        expectedNonce: nonce,
        maxAge: 3600,
        idTokenExpected: true,
    };
    const here = new URL(address);
    const tokens = await client.authorizationCodeGrant(config, here, checks);
    const claims = tokens.claims();
    const userinfo = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
    const learned = { claims, userinfo };
    const end = { id_token_hint: tokens.id_token, post_logout_redirect_uri: bye, state: "of the end" };
    learned.end = client.buildEndSessionUrl(config, end).href;
    if (how !== "none") {
        const introspected = await client.tokenIntrospection(config, tokens.access_token);
        // Only the general way of asking opens encrypted tokens.
        const own = await (opens === undefined
            ? client.clientCredentialsGrant(config, { scope: "profile" })
            : client.genericGrantRequest(config, "client_credentials", { scope: "profile" }));
        learned.introspected = introspected;
        learned.own = await client.tokenIntrospection(config, own.access_token);
        if (how === "key") {
            const type = "urn:ietf:params:oauth:token-type:access_token";
            const exchanged = await client.genericGrantRequest(config, "urn:ietf:params:oauth:grant-type:token-exchange", {
                subject_token: tokens.access_token,
                subject_token_type: type,
                actor_token: own.access_token,
                actor_token_type: type,
                scope: "openid profile",
            });
            learned.exchanged = await client.tokenIntrospection(config, exchanged.access_token);
            learned.parts = tokens.id_token.split(".").length;
        }
        await client.tokenRevocation(config, own.access_token);
        learned.revoked = await client.tokenIntrospection(config, own.access_token);
    }
    // A code is good once; whoever brings it again ends what came of it.
    learned.again = await refusal(client.authorizationCodeGrant(config, here, checks));
    learned.after = await refusal(client.fetchUserInfo(config, tokens.access_token, claims.sub));
    tell(learned);
}
