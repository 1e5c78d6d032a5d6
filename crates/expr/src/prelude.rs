//! The helpers that are Python themselves, and which of them a program needs.
//!
//! They are compiled together with the expression that uses them, once, so that an evaluation parses nothing. Names of
//! our own begin with `__pc_`; those of functions in Rust are in `helpers`.

/// A part of the prelude. `rewrite` asks for the ones its edits rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// Counts steps.
    Tick,
    /// A method of collections.
    Collection(&'static str),
    /// Addresses in networks.
    Addresses,
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
}

impl Part {
    /// The text of the part.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Tick => TICK,
            Self::Collection(name) => collection_method(name),
            Self::Addresses => ADDRESSES,
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
            Self::Replace => REPLACE,
            Self::Translate => TRANSLATE,
            Self::Chained => CHAINED,
            Self::Gathered => GATHERED,
            Self::Combinations => COMBINATIONS,
            Self::GroupBy => GROUP_BY,
            Self::Permutations => PERMUTATIONS,
            Self::Product => PRODUCT,
        }
    }

    /// Which functions in Rust the part calls.
    pub(crate) fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Tick => &["__pc_over"],
            Self::Collection("filter" | "exclude" | "order_by") => &["__pc_select"],
            Self::Collection(_) => &[],
            Self::CallPolicy => &["__pc_call"],
            Self::Addresses
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
            | Self::Replace
            | Self::Translate
            | Self::Chained
            | Self::Gathered
            | Self::Combinations
            | Self::GroupBy
            | Self::Permutations
            | Self::Product => &[],
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
def __pc_all(c, *a, **k):
    return c[:] if isinstance(c, list) else c.all(*a, **k)
"
        }
        "filter" => {
            "
def __pc_filter(c, *a, **k):
    return [c[i] for i in __pc_select(c, a, k, True)] if isinstance(c, list) else c.filter(*a, **k)
"
        }
        "exclude" => {
            "
def __pc_exclude(c, *a, **k):
    return [c[i] for i in __pc_select(c, a, k, False)] if isinstance(c, list) else c.exclude(*a, **k)
"
        }
        "first" => {
            "
def __pc_first(c, *a, **k):
    return (c[0] if c else None) if isinstance(c, list) else c.first(*a, **k)
"
        }
        "last" => {
            "
def __pc_last(c, *a, **k):
    return (c[-1] if c else None) if isinstance(c, list) else c.last(*a, **k)
"
        }
        "exists" => {
            "
def __pc_exists(c, *a, **k):
    return len(c) > 0 if isinstance(c, list) else c.exists(*a, **k)
"
        }
        "count" => {
            "
def __pc_count(c, *a):
    if isinstance(c, list) and not a:
        return len(c)
    return c.count(a[0]) if len(a) == 1 else c.count(*a)
"
        }
        "order_by" => {
            "
def __pc_order_by(c, *a, **k):
    return [c[i] for i in __pc_select(c, a, k, None)] if isinstance(c, list) else c.order_by(*a, **k)
"
        }
        "values_list" => {
            "
def __pc_values_list(c, *a, flat=False, **k):
    if not isinstance(c, list):
        return c.values_list(*a, **k)
    if flat and len(a) == 1:
        return [getattr(x, a[0]) for x in c]
    return [tuple([getattr(x, n) for n in a]) for x in c]
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

// The interpreter knows no __lt__ and no __sub__ of classes, so operands become something it can order.
const ORDER: &str = r"
import datetime as __pc_dt
def __pc_k(x):
    if isinstance(x, __pc_dt.timedelta):
        return x.total_seconds()
    n = getattr(x, '_n', None)
    return x if n is None else (x.version, n)
def __pc_sub(a, b):
    d = a - b
    return d.total_seconds() if isinstance(d, __pc_dt.timedelta) and isinstance(a, __pc_dt.datetime) and isinstance(b, __pc_dt.datetime) else d
def __pc_astimezone(x, *a, **k):
    return __pc_zoned(x, *a, **k) if isinstance(x, __pc_dt.datetime) else x.astimezone(*a, **k)
def __pc_zoned(x, tz):
    epoch = __pc_dt.datetime(1970, 1, 1, tzinfo=__pc_dt.timezone.utc)
    offset = epoch - __pc_dt.datetime(1970, 1, 1, tzinfo=tz)
    return (epoch + (x - epoch) + offset).replace(tzinfo=tz)
def __pc_total_seconds(x, *a, **k):
    return x if isinstance(x, float) else x.total_seconds(*a, **k)
def __pc_days(x):
    return int(x // 86400) if isinstance(x, float) else x.days
def __pc_seconds(x):
    return int(x % 86400) if isinstance(x, float) else x.seconds
";

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

const UNION: &str = r"
def __pc_or(a, b):
    return {**a, **b} if isinstance(a, dict) and isinstance(b, dict) else a | b
";

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

// Moments without a time zone are those of UTC, as `datetime.now()` is.
const CLOCK: &str = r"
import datetime as __pc_dt
__pc_utc = __pc_dt.timezone.utc
def __pc_moment(c, seconds):
    whole = int(seconds // 1)
    part = int((seconds - whole) * 1000000 + 0.5)
    at = __pc_dt.datetime(1970, 1, 1) + __pc_dt.timedelta(seconds=whole, microseconds=part)
    return at.date() if c is __pc_dt.date else at
def __pc_utcfromtimestamp(c, *a, **k):
    return __pc_moment(c, *a) if c is __pc_dt.datetime else c.utcfromtimestamp(*a, **k)
def __pc_fromtimestamp(c, *a, **k):
    return __pc_local(c, *a, **k) if c is __pc_dt.datetime or c is __pc_dt.date else c.fromtimestamp(*a, **k)
def __pc_local(c, seconds, tz=None):
    at = __pc_moment(c, seconds)
    if tz is None:
        return at
    offset = __pc_dt.datetime(1970, 1, 1, tzinfo=__pc_utc) - __pc_dt.datetime(1970, 1, 1, tzinfo=tz)
    return (at + offset).replace(tzinfo=tz)
def __pc_utcnow(c, *a, **k):
    return c.now(__pc_utc).replace(tzinfo=None) if c is __pc_dt.datetime else c.utcnow(*a, **k)
def __pc_today(c, *a, **k):
    return c.now() if c is __pc_dt.datetime else c.today(*a, **k)
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

// The interpreter's own methods take one argument each.
const GATHERED: &str = r"
def __pc_union(s, *a):
    if not isinstance(s, (set, frozenset)):
        return s.union(*a)
    s = s.copy()
    for x in a:
        s = s.union(x)
    return s
def __pc_intersection(s, *a):
    if not isinstance(s, (set, frozenset)):
        return s.intersection(*a)
    s = s.copy()
    for x in a:
        s = s.intersection(x)
    return s
def __pc_difference(s, *a):
    if not isinstance(s, (set, frozenset)):
        return s.difference(*a)
    s = s.copy()
    for x in a:
        s = s.difference(x)
    return s
def __pc_update(s, *a, **k):
    if not isinstance(s, set):
        return s.update(*a, **k)
    for x in a:
        s.update(x)
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

const REPLACE: &str = r#"
import re as __pc_re
def __pc_replaced(found, f, s, count):
    out = []
    at = 0
    for m in found:
        if count and len(out) >= 2 * count:
            break
        out.append(s[at:m.start()])
        out.append(f(m))
        at = m.end()
    out.append(s[at:])
    return "".join(out)
def __pc_re_sub(pattern, repl, string, count=0, flags=0):
    if isinstance(repl, str):
        return __pc_re.sub(pattern, repl, string, count=count, flags=flags)
    found = pattern.finditer(string) if isinstance(pattern, __pc_re.Pattern) else __pc_re.finditer(pattern, string, flags)
    return __pc_replaced(found, repl, string, count)
def __pc_pattern_sub(pattern, *a, **k):
    repl = a[0] if a else k.get("repl")
    if isinstance(repl, str) or not isinstance(pattern, __pc_re.Pattern):
        return pattern.sub(*a, **k)
    string = a[1] if len(a) > 1 else k["string"]
    count = a[2] if len(a) > 2 else k.get("count", 0)
    return __pc_replaced(pattern.finditer(string), repl, string, count)
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
def __pc_translate(s, *a, **k):
    if not isinstance(s, str) or len(a) != 1:
        return s.translate(*a, **k)
    table = a[0]
    out = []
    for c in s:
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
