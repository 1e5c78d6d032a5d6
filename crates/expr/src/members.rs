//! What the modules hold: so that a name one of them lacks is reported while an expression is saved (CO-223), and what
//! the prelude adds to them (CO-221).

use ruff_python_ast::{
    Alias, Stmt,
    visitor::{self, Visitor},
};

use crate::{check::MODULES, prelude::Part, scan::Mentions};

/// What the interpreter's modules hold, as far as expressions have a use for it.
const MEMBERS: [(&str, &[&str]); 9] = [
    (
        "re",
        &[
            "A",
            "ASCII",
            "DOTALL",
            "I",
            "IGNORECASE",
            "M",
            "MULTILINE",
            "Match",
            "NOFLAG",
            "Pattern",
            "S",
            "compile",
            "error",
            "escape",
            "findall",
            "finditer",
            "fullmatch",
            "match",
            "search",
            "split",
            "sub",
            "PatternError",
        ],
    ),
    ("json", &["JSONDecodeError", "dumps", "loads"]),
    ("datetime", &["date", "datetime", "time", "timedelta", "timezone"]),
    (
        "math",
        &[
            "acos",
            "acosh",
            "asin",
            "asinh",
            "atan",
            "atan2",
            "atanh",
            "cbrt",
            "ceil",
            "comb",
            "copysign",
            "cos",
            "cosh",
            "degrees",
            "e",
            "erf",
            "erfc",
            "exp",
            "exp2",
            "expm1",
            "fabs",
            "factorial",
            "floor",
            "fmod",
            "frexp",
            "gamma",
            "gcd",
            "inf",
            "isclose",
            "isfinite",
            "isinf",
            "isnan",
            "isqrt",
            "lcm",
            "ldexp",
            "lgamma",
            "log",
            "log10",
            "log1p",
            "log2",
            "modf",
            "nan",
            "nextafter",
            "perm",
            "pi",
            "pow",
            "radians",
            "remainder",
            "sin",
            "sinh",
            "sqrt",
            "tan",
            "tanh",
            "tau",
            "trunc",
            "ulp",
        ],
    ),
    (
        "base64",
        &[
            "MAXBINSIZE",
            "MAXLINESIZE",
            "a85decode",
            "a85encode",
            "b16decode",
            "b16encode",
            "b32decode",
            "b32encode",
            "b32hexdecode",
            "b32hexencode",
            "b64decode",
            "b64encode",
            "b85decode",
            "b85encode",
            "decodebytes",
            "encodebytes",
            "standard_b64decode",
            "standard_b64encode",
            "urlsafe_b64decode",
            "urlsafe_b64encode",
        ],
    ),
    ("collections", &["Counter", "defaultdict", "deque", "namedtuple"]),
    (
        "itertools",
        &[
            "accumulate",
            "chain",
            "compress",
            "count",
            "cycle",
            "dropwhile",
            "filterfalse",
            "islice",
            "pairwise",
            "repeat",
            "starmap",
            "takewhile",
            "zip_longest",
        ],
    ),
    ("functools", &["partial", "reduce"]),
    ("unicodedata", &["category", "combining", "is_normalized", "lookup", "name", "normalize"]),
];

/// Functions and types of the language, which the prelude relies on: no function may put others in their place.
pub(crate) const BUILT_IN: [&str; 52] = [
    "abs",
    "all",
    "any",
    "bin",
    "bool",
    "bytes",
    "chr",
    "dict",
    "divmod",
    "enumerate",
    "filter",
    "float",
    "format",
    "frozenset",
    "getattr",
    "hasattr",
    "hash",
    "hex",
    "id",
    "int",
    "isinstance",
    "iter",
    "len",
    "list",
    "map",
    "max",
    "min",
    "next",
    "object",
    "oct",
    "ord",
    "pow",
    "print",
    "range",
    "repr",
    "reversed",
    "round",
    "set",
    "setattr",
    "slice",
    "sorted",
    "str",
    "sum",
    "tuple",
    "type",
    "zip",
    "AttributeError",
    "Exception",
    "KeyError",
    "MemoryError",
    "TypeError",
    "ValueError",
];

/// What the prelude adds or has in its place: module, name, what stands for it, and where that is defined.
const SUPPLIED: [(&str, &str, &str, Option<Part>); 13] = [
    // Dicts keep their order.
    ("collections", "OrderedDict", "dict", None),
    ("datetime", "UTC", "__pc_utc", Some(Part::Clock)),
    ("functools", "cache", "__pc_lru_cache", Some(Part::Decorators)),
    ("functools", "lru_cache", "__pc_lru_cache", Some(Part::Decorators)),
    ("functools", "wraps", "__pc_wraps", Some(Part::Decorators)),
    ("itertools", "combinations", "__pc_combinations", Some(Part::Combinations)),
    ("itertools", "groupby", "__pc_groupby", Some(Part::GroupBy)),
    ("itertools", "permutations", "__pc_permutations", Some(Part::Permutations)),
    ("itertools", "product", "__pc_product", Some(Part::Product)),
    ("json", "loads", "__pc_loads", Some(Part::Loads)),
    ("re", "findall", "__pc_re_findall", Some(Part::Found)),
    ("re", "finditer", "__pc_re_finditer", Some(Part::Found)),
    ("re", "split", "__pc_re_split", Some(Part::Found)),
];

/// Modules that the prelude has and the interpreter has not: module, name, what stands for it, and where that is defined.
const OWN: [(&str, &str, &str, Part); 24] = [
    ("copy", "copy", "__pc_copy", Part::Small),
    ("copy", "deepcopy", "__pc_deepcopy", Part::Small),
    ("hashlib", "md5", "__pc_md5", Part::Hash),
    ("hashlib", "new", "__pc_hash_new", Part::Hash),
    ("hashlib", "sha1", "__pc_sha1", Part::Hash),
    ("hashlib", "sha256", "__pc_sha256", Part::Hash),
    ("hashlib", "sha384", "__pc_sha384", Part::Hash),
    ("hashlib", "sha512", "__pc_sha512", Part::Hash),
    ("operator", "attrgetter", "__pc_attrgetter", Part::Small),
    ("operator", "itemgetter", "__pc_itemgetter", Part::Small),
    ("string", "ascii_letters", "'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'", Part::Tick),
    ("string", "ascii_lowercase", "'abcdefghijklmnopqrstuvwxyz'", Part::Tick),
    ("string", "ascii_uppercase", "'ABCDEFGHIJKLMNOPQRSTUVWXYZ'", Part::Tick),
    ("string", "digits", "'0123456789'", Part::Tick),
    ("time", "time", "__pc_time", Part::Small),
    ("urllib.parse", "parse_qs", "__pc_parse_qs", Part::Urls),
    ("urllib.parse", "parse_qsl", "__pc_parse_qsl", Part::Urls),
    ("urllib.parse", "quote", "__pc_quote", Part::Urls),
    ("urllib.parse", "quote_plus", "__pc_quote_plus", Part::Urls),
    ("urllib.parse", "unquote", "__pc_unquote", Part::Urls),
    ("urllib.parse", "unquote_plus", "__pc_unquote_plus", Part::Urls),
    ("urllib.parse", "urlencode", "__pc_urlencode", Part::Urls),
    ("urllib.parse", "urlparse", "__pc_urlparse", Part::Urls),
    ("urllib.parse", "urlsplit", "__pc_urlsplit", Part::Urls),
];

/// Whether a module is one that only the prelude has.
pub(crate) fn is_own(module: &str) -> bool {
    OWN.iter().any(|(of, ..)| *of == module)
}

/// What stands for a member of a module that only the prelude has.
pub(crate) fn own(module: &str, name: &str) -> Option<(&'static str, Part)> {
    OWN.iter().find(|(of, known, ..)| *of == module && *known == name).map(|(.., stands, part)| (*stands, *part))
}

/// What such a module holds, for a hint.
pub(crate) fn names_of_own(module: &str) -> String {
    OWN.iter().filter(|(of, ..)| *of == module).map(|(_, name, ..)| *name).collect::<Vec<_>>().join(", ")
}

/// What stands for a member that the prelude adds.
pub(crate) fn supplied(module: &str, name: &str) -> Option<(&'static str, Option<Part>)> {
    SUPPLIED.iter().find(|(of, known, ..)| *of == module && *known == name).map(|(.., stands, part)| (*stands, *part))
}

/// Whether a module holds a name. Modules that are not ours may hold anything.
pub(crate) fn holds(module: &str, name: &str) -> bool {
    let known = MEMBERS.iter().find(|(of, _)| *of == module);
    known.is_none_or(|(_, names)| names.contains(&name)) || supplied(module, name).is_some()
}

/// What a module holds, for a hint.
pub(crate) fn names(module: &str) -> String {
    let known = MEMBERS.iter().find(|(of, _)| *of == module).map_or(&[][..], |(_, names)| *names);
    let added = SUPPLIED.iter().filter(|(of, name, ..)| *of == module && !known.contains(name));
    let added = added.map(|(_, name, ..)| *name);
    known.iter().copied().chain(added).collect::<Vec<_>>().join(", ")
}

/// The names under which an expression knows modules, and those modules. A name that is anything else as well, another
/// module in another function included, is left out.
pub(crate) fn modules(body: &[Stmt], mentions: &Mentions) -> Vec<(String, &'static str)> {
    struct Imports(Vec<(String, String)>);
    impl<'a> Visitor<'a> for Imports {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            if let Stmt::Import(import) = stmt {
                let named =
                    |alias: &Alias| (alias.asname.as_ref().unwrap_or(&alias.name).to_string(), alias.name.to_string());
                self.0.extend(import.names.iter().map(named));
            }
            visitor::walk_stmt(self, stmt);
        }
    }
    let mut imports = Imports(MODULES.into_iter().map(|module| (module.to_owned(), module.to_owned())).collect());
    imports.visit_body(body);
    let known = |(name, of): &(String, String)| {
        let module = MODULES.into_iter().find(|module| module == of)?;
        let alone = imports.0.iter().all(|(other, of)| other != name || of == module);
        (alone && !mentions.assigned.contains(name)).then(|| (name.clone(), module))
    };
    imports.0.iter().filter_map(known).collect()
}
