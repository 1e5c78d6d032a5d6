"""Tables and the plot of a measurement."""

import statistics
import subprocess
import sys
from html import escape

import servers
from servers import ROOT

NAMES = {"nginx": "nginx", "haproxy": "HAProxy", "caddy": "Caddy", "envoy": "Envoy", "traefik": "Traefik"}


def groups(cases):
    found = {}
    for case in cases:
        found.setdefault(case.group, []).append(case)
    return found


def tables(cases):
    text = ""
    for group, members in groups(cases).items():
        base = statistics.median(members[0].costs)
        text += f"### {group}\n\n| | CPU per request (µs) | spread | × {members[0].label} | requests/s | p50 (ms) | p99 (ms) |\n"
        text += "|---|---:|---:|---:|---:|---:|---:|\n"
        for case in members:
            cost = statistics.median(case.costs)
            text += (f"| {case.label} | {cost:.1f} | {min(case.costs):.1f}–{max(case.costs):.1f} | {cost / base:.2f} "
                     f"| {statistics.median(case.rates):.0f} | {statistics.median(case.p50):.2f} "
                     f"| {statistics.median(case.p99):.2f} |\n")
        text += "\n"
    return text


def facts(site):
    return (f"Ready {site.ready * 1000:.0f} ms after the start on an empty data directory; {site.idle_memory:.0f} MiB resident two "
            f"seconds later, {site.process.memory():.0f} MiB after the run; the stripped binary has {servers.BINARY.stat().st_size / 2**20:.1f} MiB.")


def plot(cases):
    """Bars: processor time per request."""
    rows, y = [], 20
    longest = max(statistics.median(case.costs) for case in cases if "cold" not in case.label)
    for group, members in groups(cases).items():
        rows.append(f'<text x="10" y="{y + 14}" class="group">{escape(group)}</text>')
        y += 26
        for case in members:
            cost = statistics.median(case.costs)
            width = min(cost / longest, 1) * 420
            kind = "ours" if "Portcullis" in case.label or "asks" in case.label else "other"
            rows.append(f'<text x="270" y="{y + 12}" text-anchor="end">{escape(case.label)}</text>'
                        f'<rect x="280" y="{y}" width="{width:.1f}" height="15" class="{kind}"/>'
                        f'<text x="{286 + width:.1f}" y="{y + 12}">{cost:.1f} µs{" »" if cost > longest else ""}</text>')
            y += 21
        y += 12
    style = ("text{font:12px sans-serif;fill:#333}.group{font-weight:bold}.ours{fill:#2f5bea}.other{fill:#9aa3b2}"
             "@media(prefers-color-scheme:dark){text{fill:#ddd}}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {y}" role="img" '
            f'aria-label="Processor time per request"><style>{style}</style>{"".join(rows)}</svg>\n')


def scale():
    """What a decision and an identity cost with few and with many of them, without a network."""
    print("cargo bench --bench scale", file=sys.stderr)
    done = subprocess.run(["cargo", "bench", "--quiet", "-p", "portcullis-proxy", "--bench", "scale"], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    return done.stdout


def large():
    """What is there of a large directory: `benches/directory` measures that, by itself."""
    _, heading, rest = (ROOT / "docs/src/performance.md").read_text().partition("\n## A large directory\n")
    return heading + rest


def write(cases, facts, arguments, machine):
    binary = f"--binary {arguments.binary} " if arguments.binary else ""
    (ROOT / "docs/src/performance.svg").write_text(plot(cases))
    (ROOT / "docs/src/performance.md").write_text(f"""# Performance

What a request costs, measured by `benches/run {binary}--write` ({machine}; {arguments.connections} keep-alive connections,
{arguments.rounds} interleaved rounds of {arguments.seconds} s each, medians). Everything runs on one machine over loopback; the
upstream is an nginx that serves from memory. The figure is user plus system time of the proxy's processes over the number
of requests: the load generator and the upstream do not count. Access logs are off on all sides; the other proxies set
twelve headers of their own, Portcullis sets the twelve identity headers of the caller.

![Processor time per request](performance.svg)

{tables(cases)}- *no credentials*: a path that `skip_path_regex` opens.
- *cookie*: a session cookie, as browsers send it.
- *warm Basic*, *warm Bearer*: no cookie; the same credential on every request, as `git`, `curl` and mail clients send it.
- *nginx, the Bearer request*: sent what Portcullis is sent for *warm Bearer*, the token of which it takes off, with a
  buffer of 16 KB for heads.
- *cold Basic*: the cache of verified credentials is turned off and every request shows another of 512 app passwords, so
  each asks the control plane, which verifies the app password, evaluates the policies, issues a grant and records it. The session
  that an app password has goes on.
- *asks*: the configurations of [docs/src/integrations](integrations/README.md), with a session cookie.

{facts}

### Where the time goes

Two thirds and more are the kernel's: two reads and two writes, the same as nginx makes, and nearly none besides. The rest is
spread thin: reading two heads, writing them, the keyed digest of the credential. The fields of most answers are not taken apart,
but handed on in the bytes they came in. Requests without a body are read and written without a queue or another task in between
([decision 0011](decisions/0011-plain-requests.md)), those with one by the HTTP library. The binary is built by a profile of what it does,
as released ones are ([decision 0013](decisions/0013-profiled-release.md) has what that saves). What of it is ours
is counted in instructions, which do not depend on what else the machine does:
`cargo bench -p portcullis-proxy --bench warm` runs the data plane below callgrind, and leaves what it saw for
`callgrind_annotate`. Nothing is allocated for the look into the cache of identities, which takes about 150 instructions; a
request is changed in place from the listener to the upstream, header values are shared, not copied, and the headers of an
identity are one piece of text that is ready to be sent.

How it compares depends on the processor: [decision 0007](decisions/0007-one-runtime.md) has the ratios on another one.

The parts of larger bodies are handed on as they were read, with one write for each; as much is read at once as the upstream
says is to come, up to 64 KB.

### Many applications, many identities

One decision in the data plane alone, without a network: a forward-auth question with a known HTTP Basic credential, in an
order that defeats the processor's caches (`cargo bench -p portcullis-proxy --bench scale`). Memory is resident memory over
the number of applications, each with one line of `skip_path_regex`, or of cached identities, their headers included.

{scale()}{large()}""")
