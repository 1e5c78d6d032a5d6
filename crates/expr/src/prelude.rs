//! The helpers that are Python themselves, and which of them a program needs.
//!
//! They are compiled together with the expression that uses them, once, so that an evaluation parses nothing. Names of
//! our own begin with `__pc_`; those of functions in Rust are in `helpers`.

mod format;
mod modules;

use format::{FORMAT, KEPT, MODULO, NEXT, PARTS, PATTERN, ROUND, SPAN};
use modules::{HASH, URLS};

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
        }
    }

    /// Which functions in Rust the part calls.
    pub(crate) fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Tick => &["__pc_over"],
            Self::Collection("filter" | "exclude" | "order_by") => &["__pc_select"],
            Self::Collection(_) => &[],
            Self::CallPolicy => &["__pc_call"],
            Self::Hash => &["__pc_digest"],
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
            | Self::Pattern => &[],
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

// The interpreter knows no __lt__ and no __sub__ of classes, so operands become something it can order.
const ORDER: &str = r"
import datetime as __pc_dt
def __pc_k(x):
    if isinstance(x, __pc_dt.timedelta):
        return x.total_seconds()
    n = getattr(x, '_n', None)
    return x if n is None else (x.version, n)
def __pc_e(x):
    return x.total_seconds() if isinstance(x, __pc_dt.timedelta) else x
def __pc_even(a, b):
    if isinstance(a, __pc_dt.timedelta) and isinstance(b, float):
        return a.total_seconds(), b
    if isinstance(a, float) and isinstance(b, __pc_dt.timedelta):
        return a, b.total_seconds()
    return a, b
def __pc_span(x):
    n = round(1000000 * x)
    return __pc_dt.timedelta(days=n // 86400000000, seconds=n // 1000000 % 86400, microseconds=n % 1000000)
def __pc_sub(a, b):
    if isinstance(b, float) and isinstance(a, __pc_dt.datetime):
        return a - __pc_span(b)
    a, b = __pc_even(a, b)
    d = a - b
    return d.total_seconds() if isinstance(d, __pc_dt.timedelta) and isinstance(a, __pc_dt.datetime) and isinstance(b, __pc_dt.datetime) else d
def __pc_add(a, b):
    if isinstance(a, float) and isinstance(b, __pc_dt.datetime):
        return b + __pc_span(a)
    if isinstance(b, float) and isinstance(a, __pc_dt.datetime):
        return a + __pc_span(b)
    a, b = __pc_even(a, b)
    return a + b
def __pc_div(a, b):
    return __pc_e(a) / __pc_e(b) if isinstance(b, __pc_dt.timedelta) else a / b
def __pc_floordiv(a, b):
    if isinstance(b, __pc_dt.timedelta):
        return int(__pc_e(a) // b.total_seconds())
    if isinstance(a, __pc_dt.timedelta):
        return __pc_span(a.total_seconds() / b)
    return a // b
def __pc_rem(a, b):
    if isinstance(b, __pc_dt.timedelta):
        rest = __pc_e(a) % b.total_seconds()
        return rest if isinstance(a, float) else __pc_span(rest)
    return __pc_mod(a, b)
def __pc_astimezone(__pc_o, *__pc_a, **__pc_k):
    return __pc_zoned(__pc_o, *__pc_a, **__pc_k) if isinstance(__pc_o, __pc_dt.datetime) else __pc_o.astimezone(*__pc_a, **__pc_k)
def __pc_zoned(x, tz):
    epoch = __pc_dt.datetime(1970, 1, 1, tzinfo=__pc_dt.timezone.utc)
    offset = epoch - __pc_dt.datetime(1970, 1, 1, tzinfo=tz)
    return (epoch + (x - epoch) + offset).replace(tzinfo=tz)
def __pc_total_seconds(__pc_o, *__pc_a, **__pc_k):
    return __pc_o if isinstance(__pc_o, float) else __pc_o.total_seconds(*__pc_a, **__pc_k)
def __pc_days(x):
    return int(x // 86400) if isinstance(x, float) else x.days
def __pc_seconds(x):
    return int(x % 86400) if isinstance(x, float) else x.seconds
def __pc_microseconds(x):
    return round(x * 1000000) % 1000000 if isinstance(x, float) else x.microseconds
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
def __pc_utcfromtimestamp(__pc_o, *__pc_a, **__pc_k):
    return __pc_moment(__pc_o, *__pc_a) if __pc_o is __pc_dt.datetime else __pc_o.utcfromtimestamp(*__pc_a, **__pc_k)
def __pc_fromtimestamp(__pc_o, *__pc_a, **__pc_k):
    return __pc_local(__pc_o, *__pc_a, **__pc_k) if __pc_o is __pc_dt.datetime or __pc_o is __pc_dt.date else __pc_o.fromtimestamp(*__pc_a, **__pc_k)
def __pc_local(c, seconds, tz=None):
    at = __pc_moment(c, seconds)
    if tz is None:
        return at
    offset = __pc_dt.datetime(1970, 1, 1, tzinfo=__pc_utc) - __pc_dt.datetime(1970, 1, 1, tzinfo=tz)
    return (at + offset).replace(tzinfo=tz)
def __pc_utcnow(__pc_o, *__pc_a, **__pc_k):
    return __pc_o.now(__pc_utc).replace(tzinfo=None) if __pc_o is __pc_dt.datetime else __pc_o.utcnow(*__pc_a, **__pc_k)
def __pc_today(__pc_o, *__pc_a, **__pc_k):
    return __pc_o.now() if __pc_o is __pc_dt.datetime else __pc_o.today(*__pc_a, **__pc_k)
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

// The interpreter's own knows neither keywords nor names of zones.
const INSTANTS: &str = r#"
import datetime as __pc_dt
def __pc_strftime(__pc_o, *__pc_a, **__pc_k):
    if __pc_k or len(__pc_a) != 1 or not isinstance(__pc_o, __pc_dt.datetime) or not isinstance(__pc_a[0], str):
        return __pc_o.strftime(*__pc_a, **__pc_k)
    parts = __pc_a[0].split("%%")
    if any(["%f" in part for part in parts]):
        parts = [part.replace("%f", f"{__pc_o.microsecond:06d}") for part in parts]
    if any(["%z" in part or "%Z" in part for part in parts]):
        name = offset = ""
        if __pc_o.tzinfo is not None:
            name = str(__pc_o.tzinfo).replace("%", "%%")
            offset = __pc_o.isoformat()[-6:].replace(":", "")
        parts = [part.replace("%z", offset).replace("%Z", name) for part in parts]
    return __pc_o.strftime("%%".join(parts))
def __pc_strptime(__pc_o, *__pc_a, **__pc_k):
    if __pc_o is not __pc_dt.datetime or __pc_k or len(__pc_a) != 2 or "%z" not in __pc_a[1].replace("%%", ""):
        return __pc_o.strptime(*__pc_a, **__pc_k) if __pc_k or len(__pc_a) != 2 else __pc_o.strptime(__pc_a[0], __pc_a[1])
    text, form = __pc_a
    if not form.endswith("%z"):
        raise ValueError("%z is known at the end of a format")
    end = 1 if text[-1:] == "Z" else 6 if text[-3:-2] == ":" else 5
    sign, offset = text[-end:-end + 1] if end > 1 else "+", text[len(text) - end + 1:].replace(":", "")
    if end == 1:
        offset = "0000"
    if sign not in ("+", "-") or len(offset) != 4 or not offset.isdigit():
        raise ValueError(f"time data '{text}' does not match format '{form}'")
    span = __pc_dt.timedelta(hours=int(offset[:2]), minutes=int(offset[2:]))
    zone = __pc_dt.timezone.utc if offset == "0000" else __pc_dt.timezone(-span if sign == "-" else span)
    return __pc_o.strptime(text[:-end], form[:-2]).replace(tzinfo=zone)
def __pc_isoformat(__pc_o, *__pc_a, **__pc_k):
    if not isinstance(__pc_o, __pc_dt.datetime) or not (__pc_a or __pc_k):
        return __pc_o.isoformat(*__pc_a, **__pc_k)
    return __pc_iso(__pc_o, *__pc_a, **__pc_k)
def __pc_iso(at, sep="T", timespec="auto"):
    text = at.replace(microsecond=0).isoformat()
    day, time, zone = text[:10], text[11:19], text[19:]
    if timespec == "hours":
        time = time[:2]
    elif timespec == "minutes":
        time = time[:5]
    elif timespec == "milliseconds":
        time = f"{time}.{at.microsecond // 1000:03d}"
    elif timespec == "microseconds" or timespec == "auto" and at.microsecond:
        time = f"{time}.{at.microsecond:06d}"
    elif timespec not in ("seconds", "auto"):
        raise ValueError("Unknown timespec value")
    return day + sep + time + zone
"#;

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

// The interpreter makes all of a list before it looks at the time or the memory again. An item is some two hundred bytes, so
// that a quarter of a million of them are what an evaluation may hold at most (CO-225). Each character may begin an item,
// and each group makes another.
const FOUND: &str = r#"
import re as __pc_re
def __pc_few(name, pattern, string, most=0):
    pattern = pattern.pattern if isinstance(pattern, __pc_re.Pattern) else pattern
    if not isinstance(pattern, str) or not isinstance(string, str):
        return
    n = min(len(string), most) if isinstance(most, int) and most > 0 else len(string)
    most = 262144 // (1 + pattern.count("(") - pattern.count("(?:"))
    if n > most:
        raise MemoryError(f"{name}() takes texts of up to {most} characters with this pattern")
def __pc_re_findall(pattern, string, flags=0):
    __pc_few("findall", pattern, string)
    return __pc_re.findall(pattern, string, flags)
def __pc_re_finditer(pattern, string, flags=0):
    __pc_few("finditer", pattern, string)
    return __pc_re.finditer(pattern, string, flags)
def __pc_re_split(pattern, string, maxsplit=0, flags=0):
    __pc_few("split", pattern, string, maxsplit)
    if isinstance(pattern, str) and "(" in pattern:
        return __pc_parted(__pc_re.finditer(pattern, string, flags), string, maxsplit)
    return __pc_re.split(pattern, string, maxsplit, flags)
def __pc_parted(found, string, maxsplit):
    out = []
    at = parts = 0
    for m in found:
        if maxsplit and parts >= maxsplit:
            break
        out.append(string[at:m.start()])
        out.extend(m.groups())
        at = m.end()
        parts += 1
    out.append(string[at:])
    return out
def __pc_few_of(name, of, a, k):
    if isinstance(of, __pc_re.Pattern):
        __pc_few(name, of, *(a if a else [k.get("string")])[:1], *(a[1:2] if len(a) > 1 else [k.get("maxsplit", 0)]))
    elif len(a) > 1 and not isinstance(of, str):
        __pc_few(name, *a[:2])
def __pc_findall(__pc_o, *__pc_a, **__pc_k):
    __pc_few_of("findall", __pc_o, __pc_a, __pc_k)
    if len(__pc_a) == 1 and not __pc_k:
        return __pc_o.findall(__pc_a[0])
    return __pc_o.findall(*__pc_a, **__pc_k)
def __pc_finditer(__pc_o, *__pc_a, **__pc_k):
    __pc_few_of("finditer", __pc_o, __pc_a, __pc_k)
    if len(__pc_a) == 1 and not __pc_k:
        return __pc_o.finditer(__pc_a[0])
    return __pc_o.finditer(*__pc_a, **__pc_k)
def __pc_split(__pc_o, *__pc_a, **__pc_k):
    __pc_few_of("split", __pc_o, __pc_a, __pc_k)
    if isinstance(__pc_o, __pc_re.Pattern) and "(" in __pc_o.pattern:
        string = __pc_a[0] if __pc_a else __pc_k["string"]
        return __pc_parted(__pc_o.finditer(string), string, __pc_a[1] if len(__pc_a) > 1 else __pc_k.get("maxsplit", 0))
    return __pc_o.split(*__pc_a, **__pc_k)
"#;

const LOADS: &str = r#"
import json as __pc_json
def __pc_loads(s, **k):
    return __pc_loads_of(__pc_json.loads, s, k)
def __pc_loads_of(of, s, k):
    if isinstance(s, str) and s.count(",") + s.count("[") + s.count("{") > 131072:
        raise MemoryError("json.loads() takes texts of up to 131072 values")
    if isinstance(s, bytes) and s.count(b",") + s.count(b"[") + s.count(b"{") > 131072:
        raise MemoryError("json.loads() takes texts of up to 131072 values")
    return of(s, **k)
"#;

const DUMPS: &str = r"
import json as __pc_json
def __pc_dumps(obj, default=None, **k):
    return __pc_json.dumps(obj if default is None else __pc_plain(obj, default), **k)
def __pc_plain(x, default):
    __pc_t()
    if x is None or isinstance(x, (str, int, float, bool)):
        return x
    if isinstance(x, dict):
        return {k: __pc_plain(v, default) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [__pc_plain(v, default) for v in x]
    return __pc_plain(default(x), default)
";

const REPLACE: &str = r#"
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
    found = __pc_finditer(pattern, string) if isinstance(pattern, __pc_re.Pattern) else __pc_re_finditer(pattern, string, flags)
    return __pc_replaced(found, repl, string, count)
def __pc_pattern_sub(__pc_o, *__pc_a, **__pc_k):
    repl = __pc_a[0] if __pc_a else __pc_k.get("repl")
    if isinstance(repl, str) or not isinstance(__pc_o, __pc_re.Pattern):
        return __pc_o.sub(*__pc_a, **__pc_k)
    string = __pc_a[1] if len(__pc_a) > 1 else __pc_k["string"]
    count = __pc_a[2] if len(__pc_a) > 2 else __pc_k.get("count", 0)
    return __pc_replaced(__pc_finditer(__pc_o, string), repl, string, count)
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
