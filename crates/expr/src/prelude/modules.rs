//! What the prelude has of modules that the interpreter has not.

/// `hashlib`: digests, which are made in Rust.
pub(super) const HASH: &str = r#"
class __pc_hash:
    def __init__(self, name, data):
        self.name = name
        self._data = data
    def update(self, data):
        self._data += data
    def copy(self):
        return __pc_hash(self.name, self._data)
    def hexdigest(self):
        return __pc_digest(self.name, self._data)
    def digest(self):
        return bytes.fromhex(__pc_digest(self.name, self._data))
def __pc_hash_new(name, data=b"", *, usedforsecurity=True):
    return __pc_hash(name, data)
def __pc_md5(string=b"", *, usedforsecurity=True):
    return __pc_hash("md5", string)
def __pc_sha1(string=b"", *, usedforsecurity=True):
    return __pc_hash("sha1", string)
def __pc_sha256(string=b"", *, usedforsecurity=True):
    return __pc_hash("sha256", string)
def __pc_sha384(string=b"", *, usedforsecurity=True):
    return __pc_hash("sha384", string)
def __pc_sha512(string=b"", *, usedforsecurity=True):
    return __pc_hash("sha512", string)
"#;

/// `urllib.parse`.
pub(super) const URLS: &str = r##"
def __pc_quote(string, safe="/", encoding=None, errors=None):
    if isinstance(string, bytes) and encoding is not None:
        raise TypeError("quote() doesn't support 'encoding' for bytes")
    if isinstance(string, bytes) and errors is not None:
        raise TypeError("quote() doesn't support 'errors' for bytes")
    out = []
    for b in string if isinstance(string, bytes) else string.encode(encoding or "utf-8", errors or "strict"):
        __pc_t()
        c = chr(b)
        kept = b < 128 and (c.isalnum() or c in "_.-~" or c in safe)
        out.append(c if kept else f"%{b:02X}")
    return "".join(out)
def __pc_quote_plus(string, safe="", encoding=None, errors=None):
    return __pc_quote(string, safe + " ", encoding, errors).replace(" ", "+")
def __pc_unquote(string, encoding="utf-8", errors="replace"):
    parts = string.split("%")
    out = [parts[0]]
    held = ""
    for part in parts[1:]:
        __pc_t()
        code = part[:2]
        known = len(code) == 2 and all([c in "0123456789abcdefABCDEF" for c in code])
        if known:
            held += code
            part = part[2:]
        else:
            part = "%" + part
        if held and (part or not known):
            out.append(bytes.fromhex(held).decode(encoding, errors))
            held = ""
        out.append(part)
    if held:
        out.append(bytes.fromhex(held).decode(encoding, errors))
    return "".join(out)
def __pc_unquote_plus(string, encoding="utf-8", errors="replace"):
    return __pc_unquote(string.replace("+", " "), encoding, errors)
def __pc_urlencode(query, doseq=False, safe="", encoding=None, errors=None, quote_via=__pc_quote_plus):
    def part(x):
        return quote_via(x, safe) if isinstance(x, bytes) else quote_via(str(__pc_s(x)), safe, encoding, errors)
    out = []
    for k, v in query.items() if isinstance(query, dict) else query:
        __pc_t()
        for x in v if doseq and isinstance(v, (list, tuple, set, frozenset, dict, range)) else [v]:
            __pc_t()
            out.append(part(k) + "=" + part(x))
    return "&".join(out)
def __pc_parse_qsl(qs, keep_blank_values=False, strict_parsing=False, encoding="utf-8", errors="replace", max_num_fields=None, separator="&"):
    if not isinstance(separator, str) or not separator:
        raise ValueError("Separator must be of type string or bytes.")
    if max_num_fields is not None and max_num_fields < 1 + qs.count(separator):
        raise ValueError("Max number of fields exceeded")
    found = []
    for part in qs.split(separator):
        __pc_t()
        name, equal, value = part.partition("=")
        if strict_parsing and not equal:
            raise ValueError(f"bad query field: {part!r}")
        if value or keep_blank_values and part:
            found.append((__pc_unquote_plus(name, encoding, errors), __pc_unquote_plus(value, encoding, errors)))
    return found
def __pc_parse_qs(qs, keep_blank_values=False, strict_parsing=False, encoding="utf-8", errors="replace", max_num_fields=None, separator="&"):
    found = {}
    for name, value in __pc_parse_qsl(qs, keep_blank_values, strict_parsing, encoding, errors, max_num_fields, separator):
        found.setdefault(name, []).append(value)
    return found
class __pc_url:
    def __init__(self, scheme, netloc, path, params, query, fragment):
        self.scheme = scheme
        self.netloc = netloc
        self.path = path
        self.params = params
        self.query = query
        self.fragment = fragment
        who, at, where = netloc.rpartition("@")
        name, colon, word = who.partition(":")
        self.username = name if at else None
        self.password = word if colon else None
        if "[" in where:
            host, _, port = where.partition("[")[2].partition("]")
            port = port.partition(":")[2]
        else:
            host, _, port = where.partition(":")
        host, mark, zone = host.partition("%")
        self.hostname = (host.lower() + mark + zone) or None
        if port and not all([c in "0123456789" for c in port]):
            raise ValueError(f"Port could not be cast to integer value as {port!r}")
        if len(port) > 64 or port and int(port) > 65535:
            raise ValueError("Port out of range 0-65535")
        self.port = int(port) if port else None
    def geturl(self):
        text = self.path + (";" + self.params if self.params else "")
        if self.netloc or self.scheme in ("ftp", "http", "https", "file", "ws", "wss", "sftp", "nfs", "git") and text[:2] != "//":
            text = "//" + self.netloc + ("" if text[:1] in ("/", "") else "/") + text
        if self.scheme:
            text = self.scheme + ":" + text
        return text + ("?" + self.query if self.query else "") + ("#" + self.fragment if self.fragment else "")
    def __str__(self):
        return self.geturl()
    def __iter__(self):
        return iter(self._parts())
    def __eq__(self, other):
        return isinstance(other, __pc_url) and self._parts() == other._parts()
    def _parts(self):
        return [self.scheme, self.netloc, self.path] + ([] if self.params is None else [self.params]) + [self.query, self.fragment]
    def _replace(self, **new):
        held = {"scheme": self.scheme, "netloc": self.netloc, "path": self.path, "params": self.params, "query": self.query, "fragment": self.fragment}
        for name in new:
            if held.get(name) is None:
                raise ValueError(f"Got unexpected field names: {[name]!r}")
        return __pc_url(**{**held, **new})
def __pc_urlparse(url, scheme="", allow_fragments=True):
    return __pc_cut(url, scheme, allow_fragments, True)
def __pc_urlsplit(url, scheme="", allow_fragments=True):
    return __pc_cut(url, scheme, allow_fragments, False)
def __pc_bare(text):
    __pc_t()
    if not isinstance(text, str):
        raise TypeError("addresses are texts here")
    at = 0
    while text[at:at + 1] and text[at:at + 1] <= " ":
        __pc_t()
        at += 1
    return text[at:].replace("\t", "").replace("\r", "").replace("\n", "")
def __pc_cut(url, scheme, allow_fragments, cut_params):
    rest = __pc_bare(url)
    scheme = __pc_bare(scheme).strip()
    netloc = fragment = ""
    params = "" if cut_params else None
    head, colon, tail = rest.partition(":")
    if colon and head[:1].isalpha() and all([c.isalnum() and c.isascii() or c in "+-." for c in head]):
        scheme, rest = head.lower(), tail
    if rest[:2] == "//":
        rest = rest[2:]
        ends = [at for at in (rest.find("/"), rest.find("?"), rest.find("#")) if at >= 0]
        end = min(ends) if ends else len(rest)
        netloc, rest = rest[:end], rest[end:]
        if ("[" in netloc) != ("]" in netloc):
            raise ValueError("Invalid IPv6 URL")
        if "[" in netloc:
            before, _, host = netloc.rpartition("@")[2].partition("[")
            host, close, after = host.partition("]")
            known = ":" in host and all([c in "0123456789abcdefABCDEF:." for c in host.partition("%")[0]])
            if before or not close or after and after[0] != ":" or not known:
                raise ValueError("Invalid IPv6 URL")
    if allow_fragments:
        rest, _, fragment = rest.partition("#")
    path, _, query = rest.partition("?")
    if cut_params and scheme in ("", "ftp", "http", "https", "sftp", "sip", "sips", "tel", "mms", "rtsp"):
        at = path.find(";", max(path.rfind("/"), 0))
        if at >= 0:
            path, params = path[:at], path[at + 1:]
    return __pc_url(scheme, netloc, path, params, query, fragment)
"##;

/// `copy`, `operator` and `time`.
pub(super) const SMALL: &str = r#"
import datetime as __pc_dt
def __pc_time():
    return __pc_dt.datetime.now(__pc_dt.timezone.utc).timestamp()
import collections as __pc_collections
def __pc_fixed(x):
    kinds = (str, int, float, bytes, tuple, frozenset, range, __pc_dt.date, __pc_dt.datetime, __pc_dt.time, __pc_dt.timedelta, __pc_dt.timezone)
    if x is None or isinstance(x, kinds) or hasattr(x, "_str_") or type(x).__name__ in ("function", "type", "builtin_function_or_method", "module"):
        return x
    raise TypeError(f"'{type(x).__name__}' cannot be copied here")
def __pc_copy(x):
    kind = type(x).__name__
    if kind == "Counter":
        return __pc_collections.Counter(dict(x))
    if kind == "defaultdict":
        return __pc_collections.defaultdict(x.default_factory, dict(x))
    if kind == "deque":
        return __pc_collections.deque(list(x), x.maxlen)
    return x.copy() if isinstance(x, (dict, list, set)) else __pc_fixed(x)
def __pc_deepcopy(x, memo=None):
    return __pc_deeply(x, {})
def __pc_deeply(x, known):
    __pc_t()
    kind = type(x).__name__
    if kind not in ("deque", "dict", "Counter", "defaultdict", "list", "set", "tuple"):
        kind = "tuple" if isinstance(x, tuple) else ""
    if kind and id(x) in known:
        return known[id(x)]
    if kind in ("list", "deque"):
        new = [] if kind == "list" else __pc_collections.deque([], x.maxlen)
        known[id(x)] = new
        for v in x:
            new.append(__pc_deeply(v, known))
        return new
    if kind in ("dict", "Counter", "defaultdict"):
        new = {} if kind == "dict" else __pc_collections.Counter() if kind == "Counter" else __pc_collections.defaultdict(x.default_factory)
        known[id(x)] = new
        for k, v in x.items():
            new[k] = __pc_deeply(v, known)
        return new
    if isinstance(x, tuple):
        new = [__pc_deeply(v, known) for v in x]
        if all([a is b for a, b in zip(x, new)]):
            return x
        if type(x).__name__ != "tuple":
            raise TypeError(f"'{type(x).__name__}' cannot be copied here")
        known[id(x)] = tuple(new)
        return known[id(x)]
    if kind == "set":
        known[id(x)] = x.copy()
        return known[id(x)]
    return __pc_fixed(x)
def __pc_itemgetter(*keys):
    if len(keys) == 1:
        return lambda x: __pc_t() and x[keys[0]]
    return lambda x: __pc_t() and tuple([x[key] for key in keys])
def __pc_attrgetter(*names):
    def get(x, name):
        for part in name.split("."):
            __pc_t()
            x = __pc_getattr(x, part)
        return x
    if len(names) == 1:
        return lambda x: get(x, names[0])
    return lambda x: tuple([get(x, name) for name in names])
"#;
