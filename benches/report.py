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


def written():
    """What people have written about the figures, to be read again when they change."""
    text = (ROOT / "docs/src/performance.md").read_text()
    return text[text.index("### Where the time goes\n"):text.index("### Many applications")]


def large():
    """What is there of a large directory: `benches/directory` measures that, by itself."""
    _, heading, rest = (ROOT / "docs/src/performance.md").read_text().partition("\n## A large directory\n")
    return heading + rest


def write(cases, facts, arguments, machine):
    options = f"--binary {arguments.binary} " if arguments.binary else ""
    options += f"--rounds {arguments.rounds} --seconds {arguments.seconds} --write"
    (ROOT / "docs/src/performance.svg").write_text(plot(cases))
    (ROOT / "docs/src/performance.md").write_text(f"""# Performance

What a request costs, measured by `benches/run {options}` ({machine}; {arguments.connections} keep-alive connections,
{arguments.rounds} interleaved rounds of {arguments.seconds} s each, medians). Everything runs on one machine over loopback; the
upstream is an nginx that serves from memory. The figure is user plus system time of the proxy's processes over the number
of requests: the load generator and the upstream do not count. Access logs are off on all sides; the other proxies set
twelve headers of their own, Portcullis sets the twelve identity headers of the caller.

![Processor time per request](performance.svg)

{tables(cases)}- *no credentials*: a path that `skip_path_regex` opens.
- *cookie*: a session cookie, as browsers send it.
- *warm Basic*, *warm Bearer*: no cookie; the same credential on every request, as `git`, `curl` and mail clients send it.
- *nginx, the Bearer request*: sent what Portcullis is sent for *warm Bearer*, with a buffer of 4 KB for heads;
  it removes the token, too.
- *cold Basic*: the cache of verified credentials is turned off and every request shows another of 512 app passwords, so
  each asks the control plane, which verifies the app password, evaluates the policies, issues a grant and records it. The session
  that an app password has goes on.
- *asks*: the configurations of [docs/src/integrations](integrations/README.md), with a session cookie.

{facts}

{written()}### Many applications, many identities

One decision in the data plane alone, without a network: a forward-auth question with a known HTTP Basic credential, in an
order that defeats the processor's caches (`cargo bench -p portcullis-proxy --bench scale`). Memory is resident memory over
the number of applications, each with one line of `skip_path_regex`, or of cached identities, their headers included.

{scale()}{large()}""")
