//! What regular expressions and `json` make, as long as it fits into memory.

// The interpreter makes all of a list before it looks at the time or the memory again. An item is some two hundred bytes, so
// that a quarter of a million of them are what an evaluation may hold at most (CO-225). Each character may begin an item,
// and each group makes another.
pub(super) const FOUND: &str = r#"
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
    compiled = isinstance(pattern, __pc_re.Pattern)
    if "(" in (pattern.pattern if compiled else pattern):
        found = pattern.finditer(string) if compiled else __pc_re.finditer(pattern, string, flags)
        return __pc_parted(found, string, maxsplit)
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
    elif not isinstance(of, str):
        __pc_few(name, a[0] if a else k.get("pattern"), a[1] if len(a) > 1 else k.get("string"), a[2] if len(a) > 2 else k.get("maxsplit", 0))
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

pub(super) const LOADS: &str = r#"
import json as __pc_json
def __pc_loads(s, **k):
    return __pc_loads_of(__pc_json.loads, s, k)
def __pc_loads_by(__pc_o, *__pc_a, **__pc_k):
    s = __pc_a[0] if __pc_a else __pc_k.get("s")
    if isinstance(s, (str, bytes)) and type(__pc_o).__name__ == "module":
        __pc_few_values(s)
    return __pc_o.loads(*__pc_a, **__pc_k)
def __pc_few_values(s):
    __pc_loads_of(lambda s: None, s, {})
def __pc_loads_of(of, s, k):
    if isinstance(s, str) and s.count(",") + s.count("[") + s.count("{") > 131072:
        raise MemoryError("json.loads() takes texts of up to 131072 values")
    if isinstance(s, bytes) and s.count(b",") + s.count(b"[") + s.count(b"{") > 131072:
        raise MemoryError("json.loads() takes texts of up to 131072 values")
    return of(s, **k)
"#;

pub(super) const DUMPS: &str = r"
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

pub(super) const REPLACE: &str = r#"
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

/// Patterns that are not written down: what does not take time in proportion to the text is refused.
pub(super) const PATTERN: &str = r#"
def __pc_pattern(pattern):
    if isinstance(pattern, str) and ("(?" in pattern or "\\" in pattern or "+" in pattern):
        plain = pattern.replace("\\\\", "")
        for escaped in ("\\(", "\\+", "\\*", "\\?", "\\}"):
            plain = plain.replace(escaped, "")
        marks = ["(?=", "(?!", "(?<=", "(?<!", "(?>", "(?(", "(?P=", "++", "*+", "?+", "}+"]
        if any([mark in plain for mark in marks]) or any(["\\" + kind in plain for kind in "123456789Gk"]):
            raise ValueError("the pattern cannot be used: look-around and back-references do not exist")
    return pattern
"#;

/// Methods of regular expressions, and of `json`, that are taken out of where they are.
pub(super) const KEPT: &str = r#"
def __pc_holds(of):
    return isinstance(of, (str, __pc_re.Pattern)) or type(of).__name__ == "module"
def __pc_kept_findall(__pc_o):
    return (lambda *__pc_a, **__pc_k: __pc_t() and __pc_findall(__pc_o, *__pc_a, **__pc_k)) if __pc_holds(__pc_o) else __pc_o.findall
def __pc_kept_finditer(__pc_o):
    return (lambda *__pc_a, **__pc_k: __pc_t() and __pc_finditer(__pc_o, *__pc_a, **__pc_k)) if __pc_holds(__pc_o) else __pc_o.finditer
def __pc_kept_split(__pc_o):
    return (lambda *__pc_a, **__pc_k: __pc_t() and __pc_split(__pc_o, *__pc_a, **__pc_k)) if __pc_holds(__pc_o) else __pc_o.split
def __pc_kept_loads(__pc_o):
    return (lambda *__pc_a, **__pc_k: __pc_t() and __pc_loads_by(__pc_o, *__pc_a, **__pc_k)) if __pc_holds(__pc_o) else __pc_o.loads
def __pc_kept_match(__pc_o):
    return (lambda __pc_x: __pc_t() and __pc_o.match(__pc_x)) if isinstance(__pc_o, __pc_re.Pattern) else __pc_o.match
def __pc_kept_search(__pc_o):
    return (lambda __pc_x: __pc_t() and __pc_o.search(__pc_x)) if isinstance(__pc_o, __pc_re.Pattern) else __pc_o.search
def __pc_kept_fullmatch(__pc_o):
    return (lambda __pc_x: __pc_t() and __pc_o.fullmatch(__pc_x)) if isinstance(__pc_o, __pc_re.Pattern) else __pc_o.fullmatch
def __pc_getattr(__pc_o, __pc_n, *__pc_a):
    held = isinstance(__pc_o, (str, __pc_re.Pattern)) and __pc_n in ("findall", "finditer", "split")
    found = None if held else getattr(__pc_o, __pc_n, *__pc_a)
    if __pc_a and not held and found is __pc_a[0]:
        return found
    if __pc_n == "findall":
        return __pc_kept_findall(__pc_o)
    if __pc_n == "finditer":
        return __pc_kept_finditer(__pc_o)
    if __pc_n == "split":
        return __pc_kept_split(__pc_o)
    if __pc_n == "loads":
        return __pc_kept_loads(__pc_o)
    return found
"#;
