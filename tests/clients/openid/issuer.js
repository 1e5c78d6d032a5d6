// An identity provider of somebody else: oidc-provider, unmodified, on this machine.
//
//     node issuer.js WHERE_THE_PACKAGES_ARE PORT FOLDER RESOURCE=AUDIENCE… -- KID:ALG…
//
// Its keys are in FOLDER, and are made where they are missing: whoever starts it again with another KID has rotated
// them. A machine (client `machine`) gets a JWT for the AUDIENCE of a RESOURCE, signed with the last key; a person, who
// is whom they say they are, signs in to the client `portal` and gets an ID token.

import { key } from "./keys.js";
import { from } from "./packages.js";

const [packages, port, folder, ...rest] = process.argv.slice(2);
const gap = rest.indexOf("--");
const audiences = new Map(rest.slice(0, gap).map((pair) => pair.split("=")));
const keys = rest.slice(gap + 1).map((name) => key(folder, ...name.split(":")));
const { alg } = keys.at(-1);

const { default: Provider, errors } = await from(packages, "oidc-provider");

const provider = new Provider(`http://127.0.0.1:${port}`, {
    jwks: { keys },
    cookies: { keys: ["of this test alone"] },
    clients: [
        {
            client_id: "machine",
            client_secret: "secret-of-the-machine",
            grant_types: ["client_credentials"],
            redirect_uris: [],
            response_types: [],
        },
        {
            client_id: "portal",
            client_secret: "secret-of-the-portal",
            redirect_uris: [`http://127.0.0.1:${port}/back`],
            id_token_signed_response_alg: alg,
        },
    ],
    clientDefaults: { id_token_signed_response_alg: alg },
    features: {
        clientCredentials: { enabled: true },
        resourceIndicators: {
            enabled: true,
            defaultResource: () => undefined,
            getResourceServerInfo: (_, resource) => {
                if (!audiences.has(resource)) throw new errors.InvalidTarget();
                return { audience: audiences.get(resource), scope: "", accessTokenFormat: "jwt", jwt: { sign: { alg } } };
            },
        },
    },
    ttl: { ClientCredentials: 600, IdToken: 600 },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});
provider.listen(Number(port), "127.0.0.1");
