// Packages that are elsewhere: where ./test has put them.

import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

/** A package, as `import` would give it. */
export function from(folder, name) {
    return import(pathToFileURL(createRequire(path.join(folder, "package.json")).resolve(name)));
}
