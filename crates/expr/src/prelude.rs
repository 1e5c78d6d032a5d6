//! The helpers that are Python themselves, and which of them a program needs.
//!
//! They are compiled together with the expression that uses them, once, so that an evaluation parses nothing. Names of
//! our own begin with `__pc_`; those of functions in Rust are in `helpers`.

/// A part of the prelude. `rewrite` asks for the ones its edits rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// Counts steps.
    Tick,
    /// Methods of collections.
    Collections,
    /// Addresses and networks.
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
}

impl Part {
    /// The text of the part.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Tick => TICK,
            Self::Collections => COLLECTIONS,
            Self::Addresses => ADDRESSES,
            Self::Order => ORDER,
            Self::Text => TEXT,
            Self::Mappings => MAPPINGS,
            Self::Union => UNION,
            Self::Struct => STRUCT,
            Self::Flatten => FLATTEN,
            Self::CallPolicy => CALL_POLICY,
        }
    }

    /// Which functions in Rust the part calls.
    pub(crate) fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Tick => &["__pc_over"],
            Self::Collections => &["__pc_select"],
            Self::Addresses => &["__pc_address", "__pc_network"],
            Self::CallPolicy => &["__pc_call"],
            Self::Order | Self::Text | Self::Mappings | Self::Union | Self::Struct | Self::Flatten => &[],
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
const COLLECTIONS: &str = r#"
def __pc_all(c, *a, **k):
    return c[:] if isinstance(c, list) else c.all(*a, **k)
def __pc_filter(c, *a, **k):
    return [c[i] for i in __pc_select(c, a, k, True)] if isinstance(c, list) else c.filter(*a, **k)
def __pc_exclude(c, *a, **k):
    return [c[i] for i in __pc_select(c, a, k, False)] if isinstance(c, list) else c.exclude(*a, **k)
def __pc_first(c, *a, **k):
    return (c[0] if c else None) if isinstance(c, list) else c.first(*a, **k)
def __pc_last(c, *a, **k):
    return (c[-1] if c else None) if isinstance(c, list) else c.last(*a, **k)
def __pc_exists(c, *a, **k):
    return len(c) > 0 if isinstance(c, list) else c.exists(*a, **k)
def __pc_count(c, *a):
    if isinstance(c, list) and not a:
        return len(c)
    return c.count(a[0]) if len(a) == 1 else c.count(*a)
def __pc_order_by(c, *a, **k):
    return [c[i] for i in __pc_select(c, a, k, None)] if isinstance(c, list) else c.order_by(*a, **k)
def __pc_values_list(c, *a, flat=False, **k):
    if not isinstance(c, list):
        return c.values_list(*a, **k)
    if flat and len(a) == 1:
        return [getattr(x, a[0]) for x in c]
    return [tuple([getattr(x, n) for n in a]) for x in c]
"#;

const ADDRESSES: &str = r#"
class IpAddress:
    def __init__(self, f):
        version, n, text, private, is_global, loopback, link_local, multicast = f
        self.version = version
        self._n = n
        self._str_ = text
        self.is_private = private
        self.is_global = is_global
        self.is_loopback = loopback
        self.is_link_local = link_local
        self.is_multicast = multicast
    def __str__(self):
        return self._str_
    def __repr__(self):
        return "IpAddress('" + self._str_ + "')"
    def __eq__(self, other):
        return isinstance(other, IpAddress) and self.version == other.version and self._n == other._n
    def __hash__(self):
        return hash((self.version, self._n))
class IpNetwork:
    def __init__(self, f):
        version, prefixlen, num_addresses, text, first, last = f
        self.version = version
        self.prefixlen = prefixlen
        self.num_addresses = num_addresses
        self._str_ = text
        self.network_address = IpAddress(first)
        self.broadcast_address = IpAddress(last)
    def __str__(self):
        return self._str_
    def __repr__(self):
        return "IpNetwork('" + self._str_ + "')"
    def __eq__(self, other):
        return isinstance(other, IpNetwork) and self._str_ == other._str_
    def __hash__(self):
        return hash(self._str_)
    def __contains__(self, other):
        return self.version == other.version and self.network_address._n <= other._n and other._n <= self.broadcast_address._n
    def subnet_of(self, other):
        return self.version == other.version and other.network_address._n <= self.network_address._n and self.broadcast_address._n <= other.broadcast_address._n
    def supernet_of(self, other):
        return other.subnet_of(self)
    def overlaps(self, other):
        return self.network_address in other or other.network_address in self
def __pc_in(x, c):
    if isinstance(c, IpNetwork) and not isinstance(x, IpAddress):
        raise TypeError("only an address can be in a network; use ip_address(...)")
    return x in c
def ip_address(value):
    return value if isinstance(value, IpAddress) else IpAddress(__pc_address(value))
def ip_network(value, strict=True):
    if isinstance(value, IpNetwork):
        return value
    return IpNetwork(__pc_network(getattr(value, '_str_', value), strict))
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
def __pc_astimezone(x, zone):
    epoch = __pc_dt.datetime(1970, 1, 1, tzinfo=__pc_dt.timezone.utc)
    offset = epoch - __pc_dt.datetime(1970, 1, 1, tzinfo=zone)
    return (epoch + (x - epoch) + offset).replace(tzinfo=zone)
def __pc_total_seconds(x, *a):
    return x if isinstance(x, float) else x.total_seconds(*a)
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
