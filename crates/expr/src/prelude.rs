//! The helpers that are Python themselves, and which of them a program needs.
//!
//! They are compiled together with the expression that uses them, once, so that an evaluation parses nothing. Names of
//! our own begin with `__pc_`; those of functions in Rust are in `helpers`.

mod format;
mod instants;
mod modules;
mod patterns;

use format::{FORMAT, MODULO, NEXT, PARTS, ROUND};
use instants::{CLOCK, INSTANTS, ORDER, SPAN};
use modules::{HASH, SMALL, URLS};
use patterns::{DUMPS, FOUND, KEPT, LOADS, PATTERN, REPLACE};

/// A part of the prelude. `rewrite` asks for the ones its edits rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// Counts steps.
    Tick,
    /// A method of collections.
    Collection(&'static str),
    /// Addresses in networks.
    Addresses,
    /// Addresses and networks of one version.
    Versions,
    /// Order and difference of instants and addresses.
    Order,
    /// Text of objects.
    Text,
    /// Headers and query parameters of requests.
    Mappings,
    /// `|` of dicts.
    Union,
    /// `struct`.
    Struct,
    /// `list_flatten`.
    Flatten,
    /// `ak_call_policy`.
    CallPolicy,
    /// What is made of the clock and of moments.
    Clock,
    /// Order of sets.
    Sets,
    /// Truth values that are added up.
    Truth,
    /// Powers.
    Power,
    /// What regular expressions find, as long as it fits into memory.
    Found,
    /// `json.loads`, as long as it fits into memory.
    Loads,
    /// Replacement by a function.
    Replace,
    /// `str.maketrans` and `str.translate`.
    Translate,
    /// `itertools.chain.from_iterable`.
    Chained,
    /// Methods of sets with any number of arguments.
    Gathered,
    /// `itertools.combinations`.
    Combinations,
    /// `itertools.groupby`.
    GroupBy,
    /// `itertools.permutations`.
    Permutations,
    /// `itertools.product`.
    Product,
    /// `%` with text.
    Modulo,
    /// `str.format`.
    Format,
    /// Removing from lists and dicts, and replacing parts of lists.
    Parts,
    /// `next` of what yields.
    Next,
    /// `round` to digits.
    Round,
    /// Methods that are taken out of where they are.
    Kept,
    /// `functools.wraps` and `functools.lru_cache`.
    Decorators,
    /// Text of instants.
    Instants,
    /// `json.dumps` with a default.
    Dumps,
    /// `hashlib`.
    Hash,
    /// `urllib.parse`.
    Urls,
    /// `timedelta` of any numbers.
    Span,
    /// Patterns of regular expressions.
    Pattern,
    /// `copy`, `operator` and `time`.
    Small,
}

impl Part {
    /// The text of the part.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Tick => TICK,
            Self::Collection(name) => collection_method(name),
            Self::Addresses => ADDRESSES,
            Self::Versions => VERSIONS,
            Self::Order => ORDER,
            Self::Text => TEXT,
            Self::Mappings => MAPPINGS,
            Self::Union => UNION,
            Self::Struct => STRUCT,
            Self::Flatten => FLATTEN,
            Self::CallPolicy => CALL_POLICY,
            Self::Clock => CLOCK,
            Self::Sets => SETS,
            Self::Truth => TRUTH,
            Self::Power => POWER,
            Self::Found => FOUND,
            Self::Loads => LOADS,
            Self::Replace => REPLACE,
            Self::Translate => TRANSLATE,
            Self::Chained => CHAINED,
            Self::Gathered => GATHERED,
            Self::Combinations => COMBINATIONS,
            Self::GroupBy => GROUP_BY,
            Self::Permutations => PERMUTATIONS,
            Self::Product => PRODUCT,
            Self::Modulo => MODULO,
            Self::Format => FORMAT,
            Self::Parts => PARTS,
            Self::Next => NEXT,
            Self::Round => ROUND,
            Self::Kept => KEPT,
            Self::Decorators => DECORATORS,
            Self::Instants => INSTANTS,
            Self::Dumps => DUMPS,
            Self::Hash => HASH,
            Self::Urls => URLS,
            Self::Span => SPAN,
            Self::Pattern => PATTERN,
            Self::Small => SMALL,
        }
    }

    /// Which functions in Rust the part calls.
    pub(crate) fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Tick => &["__pc_over"],
            Self::Collection("filter" | "exclude" | "order_by" | "get") => &["__pc_select"],
            Self::Collection(_) => &[],
            Self::CallPolicy => &["__pc_call"],
            Self::Hash => &["__pc_digest"],
            Self::Addresses
            | Self::Versions
            | Self::Order
            | Self::Text
            | Self::Mappings
            | Self::Union
            | Self::Struct
            | Self::Flatten
            | Self::Clock
            | Self::Sets
            | Self::Truth
            | Self::Power
            | Self::Found
            | Self::Loads
            | Self::Replace
            | Self::Translate
            | Self::Chained
            | Self::Gathered
            | Self::Combinations
            | Self::GroupBy
            | Self::Permutations
            | Self::Product
            | Self::Modulo
            | Self::Format
            | Self::Parts
            | Self::Next
            | Self::Round
            | Self::Kept
            | Self::Decorators
            | Self::Instants
            | Self::Dumps
            | Self::Urls
            | Self::Span
            | Self::Pattern
            | Self::Small => &[],
        }
    }
}

const TICK: &str = r"
def __pc_t():
    global __pc_n
    __pc_n -= 1
    if __pc_n < 0:
        __pc_over()
    return True
";

// Collections are lists, so that len, in, [] and loops are the interpreter's own; only their methods are ours.
/// The function that stands for a method of collections. Collections are lists, so that `len`, `in`, `[]` and loops are
/// the interpreter's own.
fn collection_method(name: &str) -> &'static str {
    match name {
        "all" => {
            "
def __pc_all(__pc_o, *__pc_a, **__pc_k):
    return __pc_o[:] if isinstance(__pc_o, list) else __pc_o.all(*__pc_a, **__pc_k)
"
        }
        "distinct" => {
            "
def __pc_distinct(__pc_o, *__pc_a, **__pc_k):
    if not isinstance(__pc_o, list):
        return __pc_o.distinct(*__pc_a, **__pc_k)
    out = []
    seen = set()
    for x in __pc_o:
        __pc_t()
        key = tuple(x.items()) if isinstance(x, dict) else x
        if key is None or isinstance(key, (str, int, float, tuple)):
            try:
                if key in seen:
                    continue
                seen.add(key)
            except TypeError:
                pass
        out.append(x)
    return out
"
        }
        "get" => {
            "
def __pc_get(__pc_o, *__pc_a, **__pc_k):
    if not isinstance(__pc_o, list):
        return __pc_o.get(*__pc_a, **__pc_k)
    found = [__pc_o[i] for i in __pc_select(__pc_o, __pc_a, __pc_k, True)]
    if len(found) != 1:
        raise LookupError(f'get() finds {len(found)} objects here, not one')
    return found[0]
"
        }
        "values" => {
            "
def __pc_values(__pc_o, *__pc_a, **__pc_k):
    return [{n: getattr(x, n) for n in __pc_a} for x in __pc_o] if isinstance(__pc_o, list) else __pc_o.values(*__pc_a, **__pc_k)
"
        }
        "filter" => {
            "
def __pc_filter(__pc_o, *__pc_a, **__pc_k):
    return [__pc_o[i] for i in __pc_select(__pc_o, __pc_a, __pc_k, True)] if isinstance(__pc_o, list) else __pc_o.filter(*__pc_a, **__pc_k)
"
        }
        "exclude" => {
            "
def __pc_exclude(__pc_o, *__pc_a, **__pc_k):
    return [__pc_o[i] for i in __pc_select(__pc_o, __pc_a, __pc_k, False)] if isinstance(__pc_o, list) else __pc_o.exclude(*__pc_a, **__pc_k)
"
        }
        "first" => {
            "
def __pc_first(__pc_o, *__pc_a, **__pc_k):
    return (__pc_o[0] if __pc_o else None) if isinstance(__pc_o, list) else __pc_o.first(*__pc_a, **__pc_k)
"
        }
        "last" => {
            "
def __pc_last(__pc_o, *__pc_a, **__pc_k):
    return (__pc_o[-1] if __pc_o else None) if isinstance(__pc_o, list) else __pc_o.last(*__pc_a, **__pc_k)
"
        }
        "exists" => {
            "
def __pc_exists(__pc_o, *__pc_a, **__pc_k):
    return len(__pc_o) > 0 if isinstance(__pc_o, list) else __pc_o.exists(*__pc_a, **__pc_k)
"
        }
        "count" => {
            "
def __pc_count(__pc_o, *__pc_a, **__pc_k):
    if isinstance(__pc_o, list) and not __pc_a:
        return len(__pc_o)
    if len(__pc_a) == 1 and not __pc_k:
        return __pc_o.count(__pc_a[0])
    return __pc_o.count(*__pc_a, **__pc_k)
"
        }
        "order_by" => {
            "
def __pc_order_by(__pc_o, *__pc_a, **__pc_k):
    return [__pc_o[i] for i in __pc_select(__pc_o, __pc_a, __pc_k, None)] if isinstance(__pc_o, list) else __pc_o.order_by(*__pc_a, **__pc_k)
"
        }
        "values_list" => {
            "
def __pc_values_list(__pc_o, *__pc_a, **__pc_k):
    if not isinstance(__pc_o, list):
        return __pc_o.values_list(*__pc_a, **__pc_k)
    if __pc_k.get('flat') and len(__pc_a) == 1:
        return [getattr(x, __pc_a[0]) for x in __pc_o]
    return [tuple([getattr(x, n) for n in __pc_a]) for x in __pc_o]
"
        }
        _ => "",
    }
}

// Instances of the host have no `__contains__`.
const ADDRESSES: &str = r#"
def __pc_in(x, c):
    first = getattr(c, '_first', None)
    if first is None:
        return x in c
    n = getattr(x, '_n', None)
    if n is None:
        raise TypeError("only an address can be in a network; use ip_address(...)")
    return c.version == x.version and first <= n and n <= c._last
"#;

// The classes of one version are functions, which `isinstance` knows.
const VERSIONS: &str = r#"
def __pc_of(x, version, what):
    if x.version != version:
        raise ValueError(f"{x._str_!r} is no IPv{version} {what}")
    return x
def __pc_v4(address):
    return __pc_of(ip_address(address), 4, "address")
def __pc_v6(address):
    return __pc_of(ip_address(address), 6, "address")
def __pc_n4(address, strict=True):
    return __pc_of(ip_network(address, strict=strict), 4, "network")
def __pc_n6(address, strict=True):
    return __pc_of(ip_network(address, strict=strict), 6, "network")
def __pc_isinstance(x, kinds):
    if isinstance(kinds, tuple):
        return any([__pc_isinstance(x, kind) for kind in kinds])
    for kind, of, version in ((__pc_v4, IpAddress, 4), (__pc_v6, IpAddress, 6), (__pc_n4, IpNetwork, 4), (__pc_n6, IpNetwork, 6)):
        if kinds is kind:
            return isinstance(x, of) and x.version == version
    return isinstance(x, kinds)
"#;

// `str` of an object of the host would list its attributes; what is meant is its name.
const TEXT: &str = r"
def __pc_s(x):
    return getattr(x, '_str_', x)
";

const MAPPINGS: &str = r#"
class HttpHeaders:
    def __init__(self, d):
        self._d = d
    def get(self, key, default=None):
        return self._d.get(key.lower(), default)
    def keys(self):
        return list(self)
    def values(self):
        return list(self._d.values())
    def items(self):
        return [(k.title(), v) for k, v in self._d.items()]
    def __contains__(self, key):
        return key.lower() in self._d
    def __iter__(self):
        return iter([k.title() for k in self._d])
    def __repr__(self):
        return repr({k.title(): v for k, v in self._d.items()})
class QueryDict:
    def __init__(self, d):
        self._d = d
    def get(self, key, default=None):
        return self._d[key][-1] if key in self._d else default
    def getlist(self, key, default=None):
        return list(self._d[key]) if key in self._d else ([] if default is None else default)
    def keys(self):
        return list(self._d)
    def values(self):
        return [v[-1] for v in self._d.values()]
    def items(self):
        return [(k, v[-1]) for k, v in self._d.items()]
    def dict(self):
        return {k: v[-1] for k, v in self._d.items()}
    def __contains__(self, key):
        return key in self._d
    def __iter__(self):
        return iter(self._d)
    def __repr__(self):
        return repr(self._d)
def __pc_headers(d):
    return HttpHeaders(d) if isinstance(d, dict) else d
def __pc_query(d):
    return QueryDict(d) if isinstance(d, dict) else d
def __pc_item(c, k):
    if isinstance(c, (HttpHeaders, QueryDict)):
        if k not in c:
            raise KeyError(k)
        return c.get(k)
    return c[k]
"#;

const UNION: &str = r#"
def __pc_or(a, b):
    if not isinstance(a, dict) or not isinstance(b, dict) or type(a).__name__ == "Counter":
        return a | b
    if type(a).__name__ == "dict":
        return {**a, **b}
    a = a.copy()
    a.update(b)
    return a
def __pc_changed(a, new):
    if new is not a:
        a.clear()
        a.update(new)
    return a
def __pc_ior(a, b):
    if isinstance(a, dict) and type(a).__name__ != "Counter":
        a.update(b)
        return a
    return __pc_changed(a, a | b) if isinstance(a, (dict, set)) else a | b
def __pc_iminus(a, b):
    return __pc_changed(a, a - b) if isinstance(a, set) else a - b
def __pc_iand(a, b):
    return __pc_changed(a, a & b) if isinstance(a, set) else a & b
def __pc_ixor(a, b):
    return __pc_changed(a, a ^ b) if isinstance(a, set) else a ^ b
"#;

const STRUCT: &str = r"
class struct:
    def __init__(self, **fields):
        for name, value in fields.items():
            setattr(self, name, value)
";

const FLATTEN: &str = r"
def list_flatten(value):
    if isinstance(value, list):
        return value[0] if value else None
    return value
";

const CALL_POLICY: &str = r"
def ak_call_policy(name, **kwargs):
    global __pc_n
    __pc_n, result = __pc_call(__pc_n, name, kwargs)
    return result
";

const SETS: &str = r"
def __pc_sets(a, b):
    return isinstance(a, (set, frozenset)) and isinstance(b, (set, frozenset))
def __pc_le(a, b):
    return a.issubset(b) if __pc_sets(a, b) else a <= b
def __pc_ge(a, b):
    return a.issuperset(b) if __pc_sets(a, b) else a >= b
def __pc_lt(a, b):
    return (a.issubset(b) and a != b) if __pc_sets(a, b) else a < b
def __pc_gt(a, b):
    return (a.issuperset(b) and a != b) if __pc_sets(a, b) else a > b
def __pc_chain(*x):
    held = True
    for i in range(0, len(x) - 2, 2):
        a, op, b = x[i], x[i + 1], x[i + 2]
        if op == '<=':
            held = __pc_le(a, b)
        elif op == '>=':
            held = __pc_ge(a, b)
        elif op == '<':
            held = __pc_lt(a, b)
        else:
            held = __pc_gt(a, b)
        if not held:
            break
    return held
";

const DECORATORS: &str = r"
def __pc_wraps(of, *a, **k):
    return lambda f: f
def __pc_lru_cache(maxsize=128, typed=False):
    def remember(f):
        known = {}
        def remembered(*a, **k):
            __pc_t()
            key = (a, tuple(k.items()))
            if key not in known:
                known[key] = f(*a, **k)
            return known[key]
        return remembered
    return remember(maxsize) if maxsize is not None and not isinstance(maxsize, int) else remember
";

const TRUTH: &str = r"
def __pc_sum(items, *a, **k):
    if not isinstance(items, (list, tuple, range)):
        items = list(items)
    try:
        return sum(items, *a, **k)
    except TypeError:
        return sum([int(x) if isinstance(x, bool) else x for x in items if __pc_t()], *a, **k)
";

const CHAINED: &str = r"
def __pc_chained(of):
    return [x for xs in of if __pc_t() for x in xs if __pc_t()]
";

// The interpreter's own methods take one argument each. What else has such a method may know any keyword, so that names of
// parameters are ours.
const GATHERED: &str = r"
def __pc_union(__pc_o, *__pc_a, **__pc_k):
    if __pc_k or not isinstance(__pc_o, (set, frozenset)):
        return __pc_o.union(*__pc_a, **__pc_k)
    __pc_o = __pc_o.copy()
    for x in __pc_a:
        __pc_o = __pc_o.union(x)
    return __pc_o
def __pc_intersection(__pc_o, *__pc_a, **__pc_k):
    if __pc_k or not isinstance(__pc_o, (set, frozenset)):
        return __pc_o.intersection(*__pc_a, **__pc_k)
    __pc_o = __pc_o.copy()
    for x in __pc_a:
        __pc_o = __pc_o.intersection(x)
    return __pc_o
def __pc_difference(__pc_o, *__pc_a, **__pc_k):
    if __pc_k or not isinstance(__pc_o, (set, frozenset)):
        return __pc_o.difference(*__pc_a, **__pc_k)
    __pc_o = __pc_o.copy()
    for x in __pc_a:
        __pc_o = __pc_o.difference(x)
    return __pc_o
def __pc_update(__pc_o, *__pc_a, **__pc_k):
    if __pc_k or not isinstance(__pc_o, set):
        return __pc_o.update(*__pc_a, **__pc_k)
    for x in __pc_a:
        __pc_o.update(x)
";

// What three numbers come to cannot be interrupted, and takes for ever when they are enormous.
const POWER: &str = r#"
def __pc_pow(base, exp, mod=None):
    if mod is None:
        return pow(base, exp)
    for x in (base, exp, mod):
        if isinstance(x, int) and (x >> 16384) not in (0, -1):
            raise OverflowError("pow() with three arguments takes numbers of up to 16384 bits")
    return pow(base, exp, mod)
"#;

const TRANSLATE: &str = r#"
def __pc_maketrans(x, y=None, z=""):
    if y is None:
        return {(ord(k) if isinstance(k, str) else k): v for k, v in x.items()}
    if len(x) != len(y):
        raise ValueError("the first two maketrans arguments must have equal length")
    table = {ord(a): ord(b) for a, b in zip(x, y)}
    for c in z:
        table[ord(c)] = None
    return table
def __pc_translate(__pc_o, *__pc_a, **__pc_k):
    if not isinstance(__pc_o, str) or len(__pc_a) != 1:
        return __pc_o.translate(*__pc_a, **__pc_k)
    table = __pc_a[0]
    out = []
    for c in __pc_o:
        to = table.get(ord(c), c)
        if to is not None:
            out.append(chr(to) if isinstance(to, int) else to)
    return "".join(out)
"#;

// Each step is counted, as those of loops in the expression are.
const COMBINATIONS: &str = r"
def __pc_combinations(items, r):
    items = list(items)
    found = [((), 0)]
    if r < 0:
        raise ValueError('r must be non-negative')
    for _ in range(r):
        found = [(had + (items[i],), i + 1) for had, start in found for i in range(start, len(items)) if __pc_t()]
    return [had for had, _ in found]
";

const PERMUTATIONS: &str = r"
def __pc_permutations(items, r=None):
    items = list(items)
    found = [()]
    if r is not None and r < 0:
        raise ValueError('r must be non-negative')
    for _ in range(len(items) if r is None else r):
        found = [had + (i,) for had in found for i in range(len(items)) if __pc_t() and i not in had]
    return [tuple([items[i] for i in had]) for had in found]
";

const PRODUCT: &str = r"
def __pc_product(*pools, repeat=1):
    found = [()]
    for pool in [list(pool) for pool in pools] * repeat:
        found = [had + (x,) for had in found for x in pool if __pc_t()]
    return found
";

const GROUP_BY: &str = r"
def __pc_groupby(items, key=None):
    found = []
    for x in items:
        __pc_t()
        k = x if key is None else key(x)
        if found and found[-1][0] == k:
            found[-1][1].append(x)
        else:
            found.append((k, [x]))
    return found
";
