//! An application that signs people in by itself: Apache with `mod_auth_openidc`, in front of a CGI program, with the
//! configuration that the documentation shows.

use std::fmt::Write as _;

use tempfile::TempDir;

use crate::peers::{give_to_server_user, listening, modules, system_binary, write_program};
use crate::process::{Process, command, directory, free_port};

/// Where it will be, before anything is there: its provider is told first.
pub struct Address(u16);

impl Default for Address {
    fn default() -> Self {
        Self(free_port())
    }
}

impl Address {
    /// An address of it, such as that of the page to come back to.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.0)
    }

    /// The redirect URI to register.
    #[must_use]
    pub fn callback(&self) -> String {
        self.url("/callback")
    }

    /// The address to register as one that people come back to after sign-out.
    #[must_use]
    pub fn bye(&self) -> String {
        self.url("/bye")
    }

    /// What signs out, here and at the provider.
    #[must_use]
    pub fn sign_out(&self) -> String {
        let bye: String = url::form_urlencoded::byte_serialize(self.bye().as_bytes()).collect();
        self.url(&format!("/callback?logout={bye}"))
    }
}

/// The application. It shows its variables to whoever is signed in: what the ID token says begins with `OIDC_CLAIM_`,
/// what the userinfo endpoint says is in `OIDC_USERINFO_JSON`. `/bye` is for everybody.
pub struct RelyingParty {
    directory: TempDir,
    _process: Process,
}

impl RelyingParty {
    /// Starts it as client of the provider that describes itself at `metadata`. It takes ID tokens signed with `alg`
    /// alone.
    pub async fn start(address: &Address, metadata: &str, client_id: &str, client_secret: &str, alg: &str) -> Self {
        let directory = directory("relying-party");
        let root = directory.path().display().to_string();
        write_program(
            &directory.path().join("show"),
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nexec env\n",
        );
        write_program(
            &directory.path().join("bye"),
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nGood-bye from the application\\n'\n",
        );
        let mut text =
            modules(&["mpm_event", "authn_core", "authz_core", "authz_user", "alias", "cgi", "auth_openidc"]);
        write!(
            text,
            "ServerRoot {root}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {root}/pid\n\
             DefaultRuntimeDir {root}\nMutex file:{root} default\nErrorLog {root}/error.log\nDocumentRoot {root}\n\
             OIDCPassIDTokenAs claims payload\nOIDCPassUserInfoAs claims json\n\
             ScriptAlias /bye {root}/bye\nScriptAliasMatch ^(.*)$ {root}/show$1\n\
             {shown}",
            port = address.0,
            shown = documented(address, metadata, client_id, client_secret, alg),
        )
        .unwrap();
        let file = directory.path().join("apache.conf");
        std::fs::write(&file, text).unwrap();
        give_to_server_user(directory.path());
        let mut apache = command(system_binary("apache2"));
        apache.args(["-X", "-f"]).arg(&file).env("HOME", directory.path());
        let process = Process::start("apache2", apache);
        listening(address.0, &process).await;
        Self { directory, _process: process }
    }

    /// What it complained of.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }
}

/// What the documentation says about it, for this client.
fn documented(address: &Address, metadata: &str, client_id: &str, client_secret: &str, alg: &str) -> String {
    const SHOWN: &str = include_str!("../../../docs/src/examples/apache-openid.conf");
    let metadata_shown = "https://id.example.com/application/o/wiki/.well-known/openid-configuration";
    SHOWN
        .replace(metadata_shown, metadata)
        .replace("THE-CLIENT-ID", client_id)
        .replace("THE-CLIENT-SECRET", client_secret)
        .replace("https://wiki.example.com", &address.url(""))
        .replace("SignedResponseAlg RS256", &format!("SignedResponseAlg {alg}"))
}
