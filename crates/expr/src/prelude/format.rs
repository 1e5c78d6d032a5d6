//! Text made by `%` and by `str.format`, and parts of lists that are replaced or removed.

/// `%` with text on its left.
pub(super) const MODULO: &str = r##"
def __pc_mod(__pc_o, __pc_v):
    if not isinstance(__pc_o, str):
        a = int(__pc_o) if isinstance(__pc_o, bool) else __pc_o
        return a % (int(__pc_v) if isinstance(__pc_v, bool) else __pc_v)
    values = __pc_v if isinstance(__pc_v, tuple) else (__pc_v,)
    out = []
    used = 0
    at = 0
    while True:
        __pc_t()
        to = __pc_o.find("%", at)
        if to < 0:
            break
        out.append(__pc_o[at:to])
        at = to + 1
        key = None
        if __pc_o[at:at + 1] == "(":
            end = __pc_o.find(")", at)
            if end < 0:
                raise ValueError("incomplete format key")
            if not isinstance(__pc_v, dict):
                raise TypeError("format requires a mapping")
            key = __pc_o[at + 1:end]
            at = end + 1
        flags = ""
        while __pc_o[at:at + 1] in ("-", "+", " ", "#", "0"):
            flags += __pc_o[at]
            at += 1
        sizes = []
        for mark in ("", "."):
            if mark and __pc_o[at:at + 1] != mark:
                sizes.append(None)
                break
            at += len(mark)
            if __pc_o[at:at + 1] == "*":
                if used >= len(values):
                    raise TypeError("not enough arguments for format string")
                if not isinstance(values[used], int):
                    raise TypeError("* wants int")
                sizes.append(values[used])
                used += 1
                at += 1
            else:
                end = at
                while "0" <= __pc_o[end:end + 1] <= "9":
                    end += 1
                sizes.append(int(__pc_o[at:end]) if end > at else 0)
                at = end
        width, digits = sizes
        if digits is not None and digits < 0:
            digits = 0
        if width < 0:
            flags += "-"
            width = -width
        if __pc_o[at:at + 1] in ("h", "l", "L"):
            at += 1
        kind = __pc_o[at:at + 1]
        at += 1
        if not kind:
            raise ValueError("incomplete format")
        if kind == "%":
            out.append("%")
            continue
        if key is not None:
            value = __pc_v[key]
        else:
            if used >= len(values):
                raise TypeError("not enough arguments for format string")
            value = values[used]
            used += 1
        sign, text = __pc_convert(kind, value, flags, digits)
        if len(sign) + len(text) < width:
            if "-" in flags:
                text = f"{text:<{width - len(sign)}}"
            elif "0" in flags and kind not in ("s", "r", "a", "c"):
                text = f"{text:0>{width - len(sign)}}"
            else:
                sign, text = "", f"{sign + text:>{width}}"
        out.append(sign + text)
    out.append(__pc_o[at:])
    if used < len(values) and not isinstance(__pc_v, (dict, list)):
        raise TypeError("not all arguments converted during string formatting")
    return "".join(out)
def __pc_ascii(text):
    out = []
    for c in text:
        __pc_t()
        n = ord(c)
        out.append(c if n < 128 else f"\\x{n:02x}" if n < 256 else f"\\u{n:04x}" if n < 65536 else f"\\U{n:08x}")
    return "".join(out)
def __pc_convert(kind, value, flags, digits):
    if kind in ("s", "r", "a"):
        text = str(__pc_s(value)) if kind == "s" else repr(value)
        if kind == "a":
            text = __pc_ascii(text)
        return "", text if digits is None else text[:digits]
    if kind == "c":
        if isinstance(value, str) and len(value) == 1:
            return "", value
        if isinstance(value, int):
            return "", chr(value)
        raise TypeError("%c requires an int or a unicode character")
    if isinstance(value, bool):
        value = int(value)
    plus = "+" if "+" in flags else " " if " " in flags else ""
    if kind in ("d", "i", "u", "x", "X", "o"):
        whole = kind in ("d", "i", "u")
        if isinstance(value, float) and whole:
            value = int(value)
        if not isinstance(value, int):
            wanted = "a real number" if whole else "an integer"
            raise TypeError(f"%{kind} format: {wanted} is required, not {type(value).__name__}")
        sign = "-" if value < 0 else plus
        text = f"{abs(value):{'d' if whole else kind}}"
        if digits is not None and len(text) < digits:
            text = f"{text:0>{digits}}"
        if "#" in flags and not whole:
            sign += "0" + kind
        return sign, text
    if kind in ("e", "E", "f", "F", "g", "G"):
        if not isinstance(value, (int, float)):
            raise TypeError(f"must be real number, not {type(value).__name__}")
        text = f"{value / 1:.{6 if digits is None else digits}{kind}}"
        return ("-", text[1:]) if text.startswith("-") else (plus, text)
    raise ValueError(f"unsupported format character '{kind}'")
"##;

/// `str.format` and `format`. The interpreter's own neither knows the text of the host's objects nor looks anything up.
pub(super) const FORMAT: &str = r#"
import datetime as __pc_dt
def __pc_format(__pc_o, *__pc_a, **__pc_k):
    if not isinstance(__pc_o, str):
        return __pc_o.format(*__pc_a, **__pc_k)
    return __pc_fields(__pc_o, __pc_a, __pc_k, [0], 2)
def __pc_format_map(__pc_o, *__pc_a, **__pc_k):
    if not isinstance(__pc_o, str) or len(__pc_a) != 1:
        return __pc_o.format_map(*__pc_a, **__pc_k)
    return __pc_fields(__pc_o, (), __pc_a[0], [0], 2)
def __pc_spec(value, spec=""):
    if "%" in spec and isinstance(value, __pc_dt.datetime):
        return __pc_strftime(value, spec)
    return f"{__pc_s(value):{spec}}" if spec else str(__pc_s(value))
def __pc_fields(text, args, kwargs, next_one, depth):
    if depth == 0:
        raise ValueError("Max string recursion exceeded")
    out = []
    at = 0
    while True:
        __pc_t()
        start = text.find("{", at)
        stop = text.find("}", at)
        if start < 0 and stop < 0:
            break
        if start < 0 or 0 <= stop < start:
            if text[stop:stop + 2] != "}}":
                raise ValueError("Single '}' encountered in format string")
            out.append(text[at:stop + 1])
            at = stop + 2
            continue
        out.append(text[at:start])
        if text[start:start + 2] == "{{":
            out.append("{")
            at = start + 2
            continue
        level = 1
        end = start + 1
        while level and end < len(text):
            if text[end] == "{":
                level += 1
            elif text[end] == "}":
                level -= 1
            end += 1
        if level:
            raise ValueError("expected '}' before end of string" if end > start + 1 else "Single '{' encountered in format string")
        out.append(__pc_field(text[start + 1:end - 1], args, kwargs, next_one, depth))
        at = end
    out.append(text[at:])
    return "".join(out)
def __pc_field(field, args, kwargs, next_one, depth):
    end = 0
    inside = False
    while end < len(field):
        c = field[end]
        if c == "[":
            inside = True
        elif c == "]":
            inside = False
        elif c in "!:" and not inside:
            break
        end += 1
    value = __pc_named(field[:end], args, kwargs, next_one)
    rest = field[end:]
    if rest[:1] == "!":
        conversion = rest[1:2]
        rest = rest[2:]
        if rest and rest[0] != ":":
            raise ValueError("expected ':' after conversion specifier")
        if conversion not in ("r", "s", "a"):
            raise ValueError(f"Unknown conversion specifier {conversion}")
        value = str(__pc_s(value)) if conversion == "s" else repr(value)
    spec = rest[1:]
    if "{" in spec:
        spec = __pc_fields(spec, args, kwargs, next_one, depth - 1)
    return __pc_spec(value, spec)
def __pc_named(path, args, kwargs, next_one):
    ends = [at for at in (path.find("."), path.find("[")) if at >= 0]
    at = min(ends) if ends else len(path)
    first = path[:at]
    if first == "" or first.isdigit():
        if first == "":
            if next_one[0] < 0:
                raise ValueError("cannot switch from manual field specification to automatic field numbering")
            place = next_one[0]
            next_one[0] += 1
        else:
            if next_one[0] > 0:
                raise ValueError("cannot switch from automatic field numbering to manual field specification")
            next_one[0] = -1
            place = int(first)
        if place >= len(args):
            raise IndexError(f"Replacement index {place} out of range for positional args tuple")
        value = args[place]
    else:
        value = kwargs[first]
    while at < len(path):
        __pc_t()
        if path[at] == ".":
            ends = [to for to in (path.find(".", at + 1), path.find("[", at + 1)) if to >= 0]
            end = min(ends) if ends else len(path)
            value = getattr(value, path[at + 1:end])
            at = end
        elif path[at] == "[":
            end = path.find("]", at)
            if end < 0:
                raise ValueError("Missing ']' in format string")
            key = path[at + 1:end]
            value = value[int(key) if key.isdigit() else key]
            at = end + 1
        else:
            raise ValueError("Only '.' or '[' may follow ']' in format field specifier")
    return value
"#;

/// Items and parts of lists and dicts that are removed or replaced.
pub(super) const PARTS: &str = r#"
def __pc_del(c, k):
    kind = type(c).__name__
    if kind == "Counter":
        return c.pop(k, None)
    if kind == "deque":
        items = list(c)
        __pc_del(items, k)
        c.clear()
        return c.extend(items)
    if isinstance(c, list) and not isinstance(k, int):
        raise TypeError(f"list indices must be integers or slices, not {type(k).__name__}")
    if not isinstance(c, (dict, list)):
        raise TypeError(f"'{type(c).__name__}' object doesn't support item deletion")
    if isinstance(c, list) and not -len(c) <= k < len(c):
        raise IndexError("list assignment index out of range")
    c.pop(k)
def __pc_put(c, a, b, v):
    if not isinstance(c, list):
        raise TypeError(f"'{type(c).__name__}' object does not support slice assignment")
    n = len(c)
    a = 0 if a is None else max(a + n, 0) if a < 0 else min(a, n)
    b = n if b is None else max(b + n, 0) if b < 0 else min(b, n)
    new = c[:a] + list(v) + c[max(a, b):]
    c.clear()
    c.extend(new)
"#;

/// A function that yields is a list; `next` takes what comes first.
pub(super) const NEXT: &str = r"
def __pc_next(__pc_o, *__pc_a):
    if not isinstance(__pc_o, list):
        return next(__pc_o, *__pc_a)
    if __pc_o:
        return __pc_o.pop(0)
    if __pc_a:
        return __pc_a[0]
    raise StopIteration
";

/// `round` to a number of digits, as the decimal number that is nearest says.
pub(super) const ROUND: &str = r#"
def __pc_round(number, ndigits=None):
    if ndigits is None:
        return round(number)
    if isinstance(number, float) and isinstance(ndigits, int) and 0 <= ndigits < 400:
        return float(f"{number:.{ndigits}f}")
    return round(number, ndigits)
"#;
