"""Processes of a measurement: started on loopback in one directory, measured, and stopped."""

import base64
import http.client
import http.cookiejar
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/portcullis"
PEERS = ROOT / "target/peers"
HOST = "notes.localhost"
TOKEN = "benchmark-" + base64.urlsafe_b64encode(os.urandom(24)).decode()
TICK = os.sysconf("SC_CLK_TCK")
# What Portcullis tells an application, for those who set twelve headers of their own: as long as ours, since what is
# copied costs, too. Of an RS256 assertion only the length matters.
HEADERS = {
    "username": "ada", "groups": "staff|editors", "entitlements": "read", "email": "ada@example.org", "name": "Ada",
    "uid": "0123456789abcdef" * 4, "jwt": "eyJhbGciOiJSUzI1NiJ9." + "a" * 1150,
    "meta-jwks": "http://localhost/application/o/notes/jwks/", "meta-outpost": "authentik Embedded Outpost",
    "meta-provider": "notes", "meta-app": "notes", "meta-version": "goauthentik.io/outpost/0.1.0",
}


def choose_binary(arguments):
    """Which binary is measured; builds it if none was named."""
    global BINARY
    if arguments.binary:
        BINARY = arguments.binary.resolve()
    elif not arguments.no_build:
        subprocess.run(["cargo", "build", "--release", "--bin", "portcullis"], cwd=ROOT, check=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name):
    """Where a program is; None if it is not installed."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:{PEERS}")


class Process:
    """A process and its children, started here and stopped here."""

    def __init__(self, command, log, env=None, cwd=None):
        self.child = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=cwd)

    def pids(self):
        found = [self.child.pid]
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children")
        return found + [int(pid) for pid in children.read_text().split()]

    def cpu(self):
        """User and system time so far, in microseconds."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks * 1_000_000 // TICK

    def memory(self):
        """Resident memory in MiB, children included."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids()]
        return sum(int(re.search(r"VmRSS:\s+(\d+)", text)[1]) for text in texts) / 1024

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()


def call(port, method, path, body=None, headers=(), form=None, tls=False):
    """One request; status, headers and body."""
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    sent = dict(headers)
    if form is not None:
        body, sent["Content-Type"] = urllib.parse.urlencode(form), "application/x-www-form-urlencoded"
    elif body is not None:
        body, sent["Content-Type"] = json.dumps(body), "application/json"
    connection.request(method, path, body, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.msg, content


def wait_for(port, path="/", host="localhost", unlike=None):
    for _ in range(400):
        try:
            status, _, content = call(port, "GET", path, headers={"Host": host})
            if status < 500 and (unlike is None or unlike not in content):
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"nothing answers on port {port}")


class Stage:
    """The directory, the log, the upstream, and everything that was started."""

    def __init__(self, directory):
        self.directory, self.started = directory, []
        os.chmod(directory, 0o755)
        self.log = open(directory / "log", "wb")
        www = directory / "www"
        (www / "public").mkdir(parents=True)
        for place in (www, www / "public"):
            (place / "index.html").write_bytes(b"x" * 1024)
        (www / "large").write_bytes(b"x" * 65536)
        self.certificate()
        self.port = free_port()
        # A queue of connections for each worker: else one of them may take most that come at once, and be the slow one.
        self.nginx("upstream", f"listen 127.0.0.1:{self.port} reuseport; root {www}; open_file_cache max=10;")
        wait_for(self.port)

    def certificate(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                        self.directory / "key.pem", "-out", self.directory / "cert.pem", "-days", "2", "-subj",
                        f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"], check=True, capture_output=True)

    def start(self, command, cwd=None, env=None):
        process = Process([str(part) for part in command], self.log, env, cwd)
        self.started.append(process)
        return process

    def stop(self):
        for process in reversed(self.started):
            process.stop()

    def nginx(self, name, server, extra=""):
        """An nginx with one worker per core and the given server block."""
        folder = self.directory / name
        for part in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        temp = "".join(f"{key}_temp_path {folder / part};\n" for key, part in [
            ("client_body", "body"), ("proxy", "proxy"), ("fastcgi", "fastcgi"), ("uwsgi", "uwsgi"), ("scgi", "scgi")])
        inner = server if server.startswith("include") else f"server {{ {server} }}"
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes auto; pid {folder}/pid; error_log {folder}/error;\n"
            f"events {{ worker_connections 1024; }}\n"
            f"http {{ access_log off; keepalive_requests 1000000000; {temp} {extra} {inner} }}\n")
        return self.start([program("nginx"), "-p", folder, "-c", folder / "nginx.conf"])

    def documented(self, name, port, core):
        """A configuration of docs/src/integrations, for this upstream."""
        text = (ROOT / "docs/src/integrations" / name).read_text()
        for old, new in [("127.0.0.1:8000", f"127.0.0.1:{self.port}"), ("127.0.0.1:9000", f"127.0.0.1:{core}"),
                         ("port_value: 8000", f"port_value: {self.port}"), ("port_value: 9000", f"port_value: {core}"),
                         ("8080", str(port))]:
            text = text.replace(old, new)
        folder = self.directory / f"front-{port}"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        return folder / name


class Portcullis:
    """A Portcullis with one application and one user."""

    def __init__(self, stage, name, port=None, mode="proxy", external=None, passwords=0, idles=False, **settings):
        self.port, self.tls = port or free_port(), free_port()
        self.host = external or f"{HOST}:{self.port}"
        env = os.environ | {
            "PORTCULLIS_DATA_DIR": str(stage.directory / name),
            "PORTCULLIS_LISTEN__HTTP": f"127.0.0.1:{self.port}",
            "PORTCULLIS_LISTEN__HTTPS": f"127.0.0.1:{self.tls}",
            "PORTCULLIS_LISTEN__METRICS": "",
            "PORTCULLIS_BASE_URL": f"http://localhost:{self.port}",
            "PORTCULLIS_BOOTSTRAP_PASSWORD": TOKEN,
            "PORTCULLIS_BOOTSTRAP_TOKEN": TOKEN,
            "PORTCULLIS_LOG__ACCESS": "false",
        } | settings
        began = time.monotonic()
        self.process = stage.start([BINARY, "serve"], env=env)
        wait_for(self.port, "/-/health/ready/")
        self.ready = time.monotonic() - began
        if idles:
            # By then the memory in which the first password was hashed is given back.
            time.sleep(2)
            self.idle_memory = self.process.memory()
        self.set_up(stage, mode, passwords)

    def api(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {TOKEN}", "Host": f"localhost:{self.port}"}
        status, _, content = call(self.port, method, "/api/v3" + path, body, headers)
        if status >= 300:
            sys.exit(f"{method} {path}: {status} {content.decode(errors='replace')[:500]}")
        return json.loads(content) if content else None

    def set_up(self, stage, mode, passwords):
        flow = lambda slug: self.api("GET", f"/flows/instances/default-provider-{slug}/")["pk"]
        provider = self.api("POST", "/providers/proxy/", {
            "name": "notes", "mode": mode, "external_host": f"http://{self.host}",
            "internal_host": f"http://127.0.0.1:{stage.port}" if mode == "proxy" else "",
            "authorization_flow": flow("authorization-implicit-consent"), "invalidation_flow": flow("invalidation-flow"),
            "skip_path_regex": "^/public/",
        })
        self.api("POST", "/core/applications/", {"name": "Notes", "slug": "notes", "provider": provider["pk"]})
        outpost = self.api("GET", "/outposts/instances/")["results"][0]
        self.api("PATCH", f"/outposts/instances/{outpost['pk']}/", {"providers": [*outpost["providers"], provider["pk"]]})
        user = self.api("POST", "/core/users/", {"username": "ada", "name": "Ada", "email": "ada@example.org"})["pk"]
        self.many = [self.app_password(user, number) for number in range(passwords)]
        self.basic = self.app_password(user, "one")
        key = base64.b64decode(self.basic.split()[1]).decode().split(":")[1]
        status, _, content = call(self.port, "POST", "/application/o/token/", headers={"Host": f"localhost:{self.port}"}, form={
            "grant_type": "client_credentials", "client_id": provider["client_id"], "username": "ada", "password": key,
            "scope": "openid profile email ak_proxy"})
        if status != 200:
            sys.exit(f"token: {status} {content.decode(errors='replace')}")
        self.bearer = "Bearer " + json.loads(content)["access_token"]
        question = {"Host": self.host, "Authorization": self.basic, "X-Forwarded-Proto": "http",
                    "X-Forwarded-Host": self.host, "X-Forwarded-Uri": "/"}
        path = "/" if mode == "proxy" else "/outpost.goauthentik.io/auth/traefik"
        status, headers, _ = call(self.port, "GET", path, headers=question)
        if status != 200:
            sys.exit(f"{path} answers with {status}")
        self.cookie = "; ".join(cookie.split(";")[0] for cookie in headers.get_all("Set-Cookie", []))

    def app_password(self, user, name):
        self.api("POST", "/core/tokens/", {"identifier": f"bench-{name}", "intent": "app_password", "user": user})
        key = self.api("GET", f"/core/tokens/bench-{name}/view_key/")["key"]
        return "Basic " + base64.b64encode(f"ada:{key}".encode()).decode()


def plain_nginx(stage, port, tls, server="", location=""):
    """nginx that proxies with twelve headers and buffers of 16 KB, and what is added to its configuration."""
    added = "".join(f"proxy_set_header X-authentik-{name} '{value}';" for name, value in HEADERS.items())
    return stage.nginx(
        f"plain-{port}",
        f"listen 127.0.0.1:{port} reuseport; listen 127.0.0.1:{tls} ssl http2 reuseport;"
        f" ssl_certificate {stage.directory}/cert.pem;"
        # The newest that both speak: who may send a request earlier in the handshake waits longer for the answer.
        f" ssl_protocols TLSv1.2 TLSv1.3; {server}"
        f" ssl_certificate_key {stage.directory}/key.pem; location / {{ proxy_pass http://up; proxy_http_version 1.1;"
        f" proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_set_header Connection ''; proxy_set_header Host $http_host;"
        f" {location} {added} }}",
        f"upstream up {{ server 127.0.0.1:{stage.port}; keepalive 128; keepalive_requests 1000000000; }}")


def plain_haproxy(stage, port):
    added = "".join(f'    http-request set-header X-authentik-{name} "{value}"\n' for name, value in HEADERS.items())
    path = stage.directory / "haproxy.cfg"
    path.write_text(f"defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n"
                    f"frontend web\n    bind 127.0.0.1:{port}\n{added}    default_backend app\n"
                    f"backend app\n    http-reuse always\n    server app 127.0.0.1:{stage.port}\n")
    return stage.start([program("haproxy"), "-db", "-f", path])


def plain_caddy(stage, port, basic=None):
    added = "".join(f'header_up X-authentik-{name} "{value}"\n' for name, value in HEADERS.items())
    guard = ""
    if basic:
        hashed = subprocess.run([program("caddy"), "hash-password", "--plaintext", basic], check=True, capture_output=True,
                                text=True).stdout.strip()
        guard = f"basic_auth {{\n ada {hashed}\n }}\n"
    folder = stage.directory / f"caddy-{port}"
    folder.mkdir()
    (folder / "Caddyfile").write_text(f"{{\n admin off\n auto_https off\n}}\n:{port} {{\n bind 127.0.0.1\n {guard}"
                                      f"reverse_proxy 127.0.0.1:{stage.port} {{\n {added} }}\n}}\n")
    env = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return stage.start([program("caddy"), "run", "--config", folder / "Caddyfile"], env=env)


def plain_envoy(stage, port):
    added = "".join(f'{{header: {{key: x-authentik-{name}, value: "{value}"}}}}, ' for name, value in HEADERS.items())
    path = stage.directory / "envoy-plain.yaml"
    cluster = ('{name: app, connect_timeout: 5s, load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: '
               f'{{address: {{socket_address: {{address: 127.0.0.1, port_value: {stage.port}}}}}}}}}]}}]}}}}')
    path.write_text(f"""
static_resources:
  listeners:
    - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: web
                route_config:
                  virtual_hosts:
                    - {{name: app, domains: ["*"], request_headers_to_add: [{added}], routes: [{{match: {{prefix: /}}, route: {{cluster: app}}}}]}}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters: [{cluster}]
""")
    return stage.start([program("envoy"), "--use-dynamic-base-id", "--log-level", "warn", "-c", path])


def plain_traefik(stage, port):
    folder = stage.directory / "traefik-plain"
    folder.mkdir()
    added = "".join(f'          X-authentik-{name}: "{value}"\n' for name, value in HEADERS.items())
    (folder / "dynamic.yml").write_text(
        f"http:\n  routers:\n    app: {{rule: PathPrefix(`/`), service: app, middlewares: [told]}}\n"
        f"  middlewares:\n    told:\n      headers:\n        customRequestHeaders:\n{added}"
        f"  services:\n    app: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{stage.port}'}}]}}}}\n")
    (folder / "traefik.yml").write_text(f"entryPoints: {{web: {{address: '127.0.0.1:{port}'}}}}\n"
                                        f"providers: {{file: {{filename: {folder}/dynamic.yml}}}}\n")
    return stage.start([program("traefik"), f"--configFile={folder}/traefik.yml"])


def openid_apache(stage, port, core):
    """Apache that signs people in by itself (mod_auth_openidc), with `core` as provider; and the cookie of somebody who
    is signed in. It tells the application what it learned from the ID token, in headers of its own."""
    modules = Path("/usr/lib/apache2/modules")
    if not program("apache2") or not (modules / "mod_auth_openidc.so").exists():
        return None
    flow = lambda slug: core.api("GET", f"/flows/instances/default-provider-{slug}/")["pk"]
    client = core.api("POST", "/providers/oauth2/", {
        "name": "apache", "authorization_flow": flow("authorization-implicit-consent"),
        "invalidation_flow": flow("invalidation-flow"),
        "redirect_uris": [{"matching_mode": "strict", "url": f"http://127.0.0.1:{port}/callback"}],
        "property_mappings": [mapping["pk"] for mapping in core.api("GET", "/propertymappings/provider/scope/")["results"]
                              if mapping["scope_name"] in ("openid", "email", "profile")],
        "signing_key": core.api("POST", "/crypto/certificatekeypairs/generate/", {
            "common_name": "apache", "validity_days": 2})["pk"],
    })
    core.api("POST", "/core/applications/", {"name": "Apache", "slug": "apache", "provider": client["pk"]})
    folder = stage.directory / "openid"
    folder.mkdir()
    names = ("mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", "auth_openidc")
    loads = "".join(f"LoadModule {name}_module {modules}/mod_{name}.so\n" for name in names)
    (folder / "conf").write_text(
        f"{loads}ServerRoot {folder}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {folder}/pid\n"
        f"DefaultRuntimeDir {folder}\nMutex file:{folder} default\nErrorLog {folder}/error.log\nUser www-data\nGroup www-data\n"
        f"KeepAlive On\nMaxKeepAliveRequests 0\nServerLimit 2\nStartServers 2\nThreadsPerChild 64\n"
        f"MaxRequestWorkers 128\nMinSpareThreads 1\nMaxSpareThreads 128\n"
        f"OIDCProviderMetadataURL http://localhost:{core.port}/application/o/apache/.well-known/openid-configuration\n"
        f"OIDCClientID {client['client_id']}\nOIDCClientSecret {client['client_secret']}\n"
        f"OIDCRedirectURI http://127.0.0.1:{port}/callback\nOIDCCryptoPassphrase {TOKEN}\nOIDCScope 'openid email profile'\n"
        f"OIDCCacheType shm\nProxyPass / http://127.0.0.1:{stage.port}/ keepalive=On\n"
        f"<Location />\nAuthType openid-connect\nRequire valid-user\n</Location>\n")
    subprocess.run(["chown", "-R", "www-data:www-data", folder], check=True)
    process = stage.start([program("apache2"), "-D", "FOREGROUND", "-f", folder / "conf"])
    wait_for(port)
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    form = urllib.parse.urlencode({"uid_field": "akadmin", "password": TOKEN}).encode()
    browser.open(urllib.request.Request(f"http://localhost:{core.port}/if/flow/default-authentication-flow/", form,
                                        {"Origin": f"http://localhost:{core.port}"})).read()
    browser.open(urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Accept": "text/html"})).read()
    cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar if cookie.name.startswith("mod_auth_openidc"))
    return process, cookie


def asking(stage, kind, port, core, cookie):
    """A reverse proxy that asks Portcullis, with the configuration of the documentation."""
    if kind == "nginx":
        return stage.nginx(f"asking-{port}", f"include {stage.documented('nginx.conf', port, core)};")
    if kind == "haproxy":
        stage.documented("portcullis.lua", port, core)
        path = stage.documented("haproxy.cfg", port, core)
        return stage.start([program("haproxy"), "-db", "-f", path], cwd=path.parent)
    if kind == "caddy":
        path = stage.documented("Caddyfile", port, core)
        env = os.environ | {"XDG_DATA_HOME": str(path.parent), "XDG_CONFIG_HOME": str(path.parent),
                            "CADDY_ADMIN": f"127.0.0.1:{free_port()}"}
        return stage.start([program("caddy"), "run", "--adapter", "caddyfile", "--config", path], env=env)
    if kind == "envoy":
        path = stage.documented("envoy.yaml", port, core)
        return stage.start([program("envoy"), "--use-dynamic-base-id", "--log-level", "warn", "-c", path])
    path = stage.documented("traefik.yml", port, core)
    dynamic = stage.documented("traefik-dynamic.yml", port, core)
    dynamic.write_text(dynamic.read_text().replace("authentik_proxy_01d4e0c9", cookie.split("=")[0]))
    return stage.start([program("traefik"), f"--configFile={path}"], cwd=path.parent)
