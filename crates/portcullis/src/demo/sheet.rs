//! The sheet that the demonstration prints: where to look, who to be, what to copy.

use std::fmt::Write;
use std::io::IsTerminal;

use super::people::{Made, PEOPLE, Secrets};

/// Emphasis on a terminal, plain text elsewhere.
struct Ink {
    bold: &'static str,
    soft: &'static str,
    accent: &'static str,
    end: &'static str,
}

impl Ink {
    fn here() -> Self {
        if std::io::stdout().is_terminal() {
            Self { bold: "\x1b[1m", soft: "\x1b[2m", accent: "\x1b[36m", end: "\x1b[0m" }
        } else {
            Self { bold: "", soft: "", accent: "", end: "" }
        }
    }
}

/// The whole sheet.
pub(super) fn sheet(port: u16, secrets: &Secrets, made: &Made, seen: &[(String, String)]) -> String {
    let Ink { bold, soft, accent, end } = Ink::here();
    let core = format!("http://localhost:{port}");
    let site = format!("http://whoami.localhost:{port}/");
    let mut sheet = format!(
        "\n  {bold}Portcullis demonstration{end}   everything is thrown away when you press Ctrl-C\n\n\
         \x20 Open in a browser   {accent}{site}{end}\n\
         \x20 Identity provider   {accent}{core}/{end}\n\n\
         \x20 {bold}{:<10} {:<18} {:<20} {}{end}\n",
        "User", "Password", "App password", "",
    );
    for person in &PEOPLE {
        let _ = writeln!(
            sheet,
            "  {:<10} {:<18} {:<20} {soft}{}{end}",
            person.username, person.password, person.app_password, person.note
        );
    }
    let _ = writeln!(sheet, "  {:<10} {:<18} {:<20} {soft}administrator{end}", "akadmin", secrets.administrator, "");
    let _ = writeln!(
        sheet,
        "\n  {bold}What the application saw{end}   of a request with ada's app password, a moment ago\n"
    );
    for (name, value) in seen {
        let _ = writeln!(sheet, "    {name:<24}{accent}{value}{end}");
    }
    let _ = writeln!(sheet, "\n  {bold}Try it{end}   the application answers with the request that reached it");
    for (title, command) in commands(&core, &site, secrets, made) {
        let _ = writeln!(sheet, "\n  {soft}{title}{end}");
        for line in command.lines() {
            let _ = writeln!(sheet, "    {line}");
        }
    }
    sheet.push('\n');
    sheet
}

fn commands(core: &str, site: &str, secrets: &Secrets, made: &Made) -> Vec<(&'static str, String)> {
    let client = &made.client_id;
    // Whole in one line, so that any of them can be copied alone.
    let token = format!(
        "$(curl -s {core}/application/o/token/ \\\n\
         \x20 -d grant_type=client_credentials -d client_id={client} \\\n\
         \x20 -d username=ada -d password=ada-app-password -d scope='openid profile email ak_proxy' \\\n\
         \x20 | sed 's/.*access_token\":\"//; s/\".*//')"
    );
    vec![
        (
            "HTTP Basic with an app password; the application gets credentials of its own instead",
            format!("curl -u ada:ada-app-password {site}"),
        ),
        ("Bearer: a token of the same person", format!("curl -H \"Authorization: Bearer {token}\" {site}")),
        (
            "The reserved user name: a token for programs that know user name and password only",
            format!("curl -u \"goauthentik.io/token:{token}\" {site}"),
        ),
        (
            "A wrong password, and somebody who may not: 401",
            format!("curl -i -u ada:wrong {site}\ncurl -i -u bob:bob-app-password {site}"),
        ),
        (
            "No password: sent to sign in, or 401 where nobody would see the page",
            format!("curl -i {site}\ncurl -i -H 'Accept: application/json' {site}"),
        ),
        ("The API", format!("curl -H 'Authorization: Bearer {}' {core}/api/v3/core/users/", secrets.api_token)),
    ]
}
