//! Instants, spans of time and their text.

// The interpreter knows no __lt__ and no __sub__ of classes, so operands become something it can order.
pub(super) const ORDER: &str = r"
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
def __pc_iadd(a, b):
    if isinstance(a, list):
        a += b
        return a
    return __pc_add(a, b)
def __pc_isub(a, b):
    if isinstance(a, set):
        return __pc_changed(a, a - b)
    return __pc_sub(a, b)
def __pc_div(a, b):
    return __pc_e(a) / __pc_e(b) if isinstance(b, __pc_dt.timedelta) else a / b
def __pc_micros(x):
    return (86400 * x.days + x.seconds) * 1000000 + x.microseconds
def __pc_of_micros(n):
    return __pc_dt.timedelta(days=n // 86400000000, seconds=n // 1000000 % 86400, microseconds=n % 1000000)
def __pc_floordiv(a, b):
    if isinstance(a, __pc_dt.timedelta):
        if isinstance(b, __pc_dt.timedelta):
            return __pc_micros(a) // __pc_micros(b)
        if isinstance(b, int):
            return __pc_of_micros(__pc_micros(a) // int(b))
    if isinstance(a, float) and isinstance(b, __pc_dt.timedelta):
        return round(a * 1000000) // __pc_micros(b)
    return a // b
def __pc_rem(a, b):
    if isinstance(a, __pc_dt.timedelta) and isinstance(b, __pc_dt.timedelta):
        return __pc_of_micros(__pc_micros(a) % __pc_micros(b))
    if isinstance(a, float) and isinstance(b, __pc_dt.timedelta):
        return round(a * 1000000) % __pc_micros(b) / 1000000
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

// Moments without a time zone are those of UTC, as `datetime.now()` is.
pub(super) const CLOCK: &str = r"
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

// The interpreter's own knows neither keywords nor names of zones.
pub(super) const INSTANTS: &str = r#"
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
    if __pc_o is not __pc_dt.datetime or __pc_k or len(__pc_a) != 2:
        return __pc_o.strptime(*__pc_a, **__pc_k)
    text, form = __pc_a
    if not isinstance(text, str) or not isinstance(form, str):
        raise TypeError("strptime() takes texts")
    if "%z" not in form.replace("%%", ""):
        return __pc_parsed(text, form)
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
    return __pc_parsed(text[:-end], form[:-2]).replace(tzinfo=zone)
def __pc_parsed(text, form):
    codes = [part[:1] for part in form.replace("%%", "").split("%")[1:]]
    def has(wanted):
        return any([code in wanted for code in codes])
    add = []
    if not has("cxDFsGv+"):
        if not has("Yy"):
            add.append(("1900", "%Y"))
        if not has("j"):
            if not has("mbBh"):
                add.append(("1", "%m"))
            if not has("de"):
                add.append(("1", "%d"))
    if has("HIkMSf") and not has("cTXRrs+"):
        if not has("HIk"):
            add.append(("0", "%H"))
        if has("I") and not has("pP"):
            add.append(("AM", "%p"))
        if not has("M"):
            add.append(("0", "%M"))
    try:
        at = __pc_dt.datetime.strptime(" ".join([a for a, _ in add] + [text]), " ".join([b for _, b in add] + [form]))
    except ValueError:
        raise ValueError(f"time data {text!r} does not match format {form!r}")
    # Two digits are those of 1969 to 2068.
    return at.replace(year=1969) if has("y") and at.year == 2069 else at
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

/// `timedelta` of numbers that are not whole.
pub(super) const SPAN: &str = r"
import datetime as __pc_dt
def __pc_timedelta(days=0, seconds=0, microseconds=0, milliseconds=0, minutes=0, hours=0, weeks=0):
    seconds = seconds + 60 * minutes + 3600 * hours + 86400 * (days + 7 * weeks)
    n = 1000000 * seconds + 1000 * milliseconds + microseconds
    n = round(n) if isinstance(n, float) else n
    return __pc_dt.timedelta(days=n // 86400000000, seconds=n // 1000000 % 86400, microseconds=n % 1000000)
";
