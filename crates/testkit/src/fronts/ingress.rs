//! What ingress-nginx makes of the objects that the documentation shows, as far as it concerns who gets in: its
//! controller needs a cluster, its nginx does not.

use std::fmt::Write as _;

/// The one target that is encoded for the login, which the controller's nginx does for each by a program.
pub const WANTED: &str = "/a%20page/?x=1&y=2&z=%2F";

/// A part of nginx's section `http`, made of Ingress objects for the application at `external`.
pub(super) fn rendered(objects: &str, external: &str, upstream: u16, core: u16) -> String {
    let port = external.rsplit(':').next().unwrap();
    let (_, question) = annotation(objects, "auth-url").split_once(":9000").unwrap();
    let sign_in = annotation(objects, "auth-signin").replace("https://notes.example.com", external);
    let mut told = String::new();
    for (number, name) in annotation(objects, "auth-response-headers").split(',').enumerate() {
        let variable = name.to_lowercase().replace('-', "_");
        writeln!(told, "auth_request_set $authHeader{number} $upstream_http_{variable};").unwrap();
        writeln!(told, "proxy_set_header '{name}' $authHeader{number};").unwrap();
    }
    let always = if annotation(objects, "auth-always-set-cookie") == "true" { "always" } else { "" };
    let buffer = annotation(objects, "proxy-buffer-size");
    let mut escaped = String::new();
    for byte in WANTED.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").unwrap();
        }
    }
    let (http, server) = (block(objects, "http-snippet"), block(objects, "server-snippet"));
    let mut login = String::new();
    for (path, kind) in paths(objects).filter(|(path, _)| *path != "/") {
        let how = if kind == "Exact" { "= " } else { "" };
        writeln!(
            login,
            "location {how}{path} {{ proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Host $http_host;\n\
             proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_pass http://127.0.0.1:{core}; }}"
        )
        .unwrap();
    }
    format!(
        "map $request_uri $escaped_request_uri {{ default ''; '{WANTED}' '{escaped}'; }}\n{http}\n\
         server {{ listen {port} default_server; return 404; }}\n\
         server {{ listen {port}; server_name notes.localhost; proxy_buffer_size {buffer}; proxy_buffers 8 {buffer};\n{server}\n\
         location / {{ auth_request /_external-auth; auth_request_set $auth_cookie $upstream_http_set_cookie;\n\
         add_header Set-Cookie $auth_cookie {always};\n{told}error_page 401 = @signin;\n\
         proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Host $http_host;\n\
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_pass http://127.0.0.1:{upstream}; }}\n\
         location @signin {{ internal; return 302 {sign_in}; }}\n\
         location = /_external-auth {{ internal; proxy_pass_request_body off; proxy_set_header Content-Length '';\n\
         proxy_set_header X-Forwarded-Proto ''; proxy_set_header Host portcullis.portcullis.svc.cluster.local;\n\
         proxy_set_header X-Original-URL $scheme://$http_host$request_uri; proxy_set_header X-Original-Method $request_method;\n\
         proxy_set_header X-Sent-From nginx-ingress-controller; proxy_set_header X-Real-IP $remote_addr;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Auth-Request-Redirect $request_uri;\n\
         proxy_pass http://127.0.0.1:{core}{question}; }}\n\
         {login}}}\n"
    )
}

fn annotation<'a>(objects: &'a str, name: &str) -> &'a str {
    let key = format!("nginx.ingress.kubernetes.io/{name}: ");
    let line = objects.lines().find_map(|line| line.trim().strip_prefix(&key));
    line.unwrap_or_else(|| panic!("no {name}")).trim_matches('"')
}

/// A text of several lines.
fn block(objects: &str, name: &str) -> String {
    let key = format!("{name}: |");
    let inside = objects.lines().skip_while(|line| line.trim() != key).skip(1);
    let lines: Vec<_> = inside.take_while(|line| line.starts_with("    ")).collect();
    assert!(!lines.is_empty(), "no {name}");
    lines.join("\n")
}

/// Paths, and how each is compared.
fn paths(objects: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = || objects.lines().map(str::trim);
    let paths = lines().filter_map(|line| line.strip_prefix("- path: "));
    paths.zip(lines().filter_map(|line| line.strip_prefix("pathType: ")))
}
