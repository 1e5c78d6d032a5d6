//! What an operator can set, declared once.
//!
//! [`settings!`] turns the table below into the structs that the program reads, the list that the
//! parser knows, `portcullis config`, the reference page and the sample file. A default is written as
//! text and read by the same parser as everything else.

mod indirect;
mod layers;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

pub(crate) use layers::{Layers, SettingsError};
use portcullis_idp::limits::Limits;
use portcullis_idp::sessions::Lifetimes;
use portcullis_proxy::settings::{EmptyBasicPassword, ForwardJwt, Limit, ProxySettings};

pub(crate) use value::{
    BaseUrl, DatabaseUrl, FieldName, KeepSessions, LimitName, LogFormat, LogLevel, Minute, Pattern, Rate, Seconds,
    Secret, Span, Value,
};

/// One setting, as declared.
#[derive(Debug)]
pub(crate) struct Declaration {
    /// Name in the file: `listen.http`.
    pub(crate) key: &'static str,
    /// What it does: Markdown, of which the first line is one sentence.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the reference page's generator"))]
    pub(crate) doc: &'static str,
    /// The value if nobody sets it.
    pub(crate) default: &'static str,
    /// What may be written, in words.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the reference page's generator"))]
    pub(crate) kind: fn() -> String,
    /// Never shown, and not accepted on the command line, where every user of the machine can read it.
    pub(crate) secret: bool,
    /// Prefixes of variables besides `PORTCULLIS_` (PX-002, CO-481).
    pub(crate) aliases: &'static [&'static str],
}

impl Declaration {
    /// The variable's name after its prefix: `LISTEN__HTTP`.
    pub(crate) fn variable(&self) -> String {
        self.key.replace('.', "__").to_ascii_uppercase()
    }
}

/// Settings that share the first part of their key.
#[derive(Debug)]
pub(crate) struct Section {
    /// What their keys begin with: `listen.`, or nothing for the settings at the top of the file.
    pub(crate) prefix: &'static str,
    /// What they are about.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the reference page's generator"))]
    pub(crate) doc: &'static str,
    /// The settings, in the order of their declaration.
    pub(crate) settings: &'static [Declaration],
}

/// Every declared setting.
pub(crate) fn declarations() -> impl Iterator<Item = &'static Declaration> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $section:ident $prefix:literal $Section:ident {$(
            $(#[doc = $doc:literal])+
            $field:ident : $Value:ty = $default:literal $(, also $alias:literal)?;
        )+}
    )+) => {
        /// All settings in force.
        #[derive(Debug)]
        pub(crate) struct Settings {$(
            $(#[doc = $about])+
            pub(crate) $section: $Section,
        )+}

        $(
            $(#[doc = $about])+
            #[derive(Debug)]
            pub(crate) struct $Section {$(
                $(#[doc = $doc])+
                pub(crate) $field: $Value,
            )+}
        )+

        /// Every setting there is.
        pub(crate) const SECTIONS: &[Section] = &[$(
            Section {
                prefix: $prefix,
                doc: concat!($($about, "\n"),+),
                settings: &[$(
                    Declaration {
                        key: concat!($prefix, stringify!($field)),
                        doc: concat!($($doc, "\n"),+),
                        default: $default,
                        kind: <$Value as value::Value>::kind,
                        secret: <$Value as value::Value>::SECRET,
                        aliases: &[$($alias)?],
                    },
                )+],
            },
        )+];

        impl Settings {
            /// Reads every setting from the layers.
            ///
            /// # Errors
            /// When a value cannot be read, in one line that names the setting and where it was set.
            pub(crate) fn read(layers: &Layers) -> Result<Self, SettingsError> {
                Ok(Self {$(
                    $section: $Section {$(
                        $field: layers.read(concat!($prefix, stringify!($field)), $default)?,
                    )+},
                )+})
            }

            /// The effective values as they would be written, secrets masked, in the order of [`SECTIONS`].
            pub(crate) fn shown(&self) -> Vec<String> {
                vec![$($(value::Value::show(&self.$section.$field),)+)+]
            }
        }
    };
}

settings! {
    /// Where the instance keeps its data, how it is reached, and the first administrator.
    general "" General {
        /// Directory that holds the database and the secret key.
        ///
        /// It is created with mode 0700 if it is missing. One process at a time uses it.
        data_dir: PathBuf = "./portcullis-data";
        /// Root secret, from which all keys of the instance are derived. At least 32 bytes.
        ///
        /// Without it, 32 random bytes are kept as `secret.key` (mode 0600) in the data directory. Whoever
        /// loses it cannot open the secrets in the database any more; whoever has only the database can
        /// open none. `openssl rand -base64 48` or the like makes one.
        secret_key: Option<Secret> = "";
        /// Root secret that the database was made with, for `portcullis rekey` alone.
        ///
        /// Needed there when `secret_key` is the new one and the old one is not in `secret.key`.
        previous_secret_key: Option<Secret> = "";
        /// Public URL of the control plane: sign-in pages, API, OAuth2 issuer.
        ///
        /// An absolute `http` or `https` URL without a path.
        base_url: BaseUrl = "http://localhost:9000";
        /// Password of the first administrator, `akadmin`.
        ///
        /// This and the other `bootstrap_` settings are looked at once, when the database is new; later they
        /// change nothing. Without a password the setup page asks for one, and for the setup code.
        bootstrap_password: Option<Secret> = "", also "AUTHENTIK_";
        /// The same as a ready hash, Argon2id or `pbkdf2_sha256`; wins over the plain form.
        bootstrap_password_hash: Option<Secret> = "";
        /// Key of an API token for the first administrator, `authentik-bootstrap-token`, that does not expire.
        bootstrap_token: Option<Secret> = "", also "AUTHENTIK_";
        /// E-mail address of the first administrator, `root@example.com` otherwise.
        bootstrap_email: Option<String> = "", also "AUTHENTIK_";
        /// File that the one-time setup code is written to (mode 0600), instead of the console.
        setup_code_file: Option<PathBuf> = "";
        /// Folder of blueprints, which are applied when the process starts and when they change. Empty: none.
        ///
        /// Every `*.yaml` below it counts, but for those with a dot in front. They are applied with all rights: let
        /// nobody write there whom you would not make an administrator, and not the process itself.
        blueprints_dir: Option<PathBuf> = "/blueprints", also "AUTHENTIK_";
        /// Base URL of the control plane that a stand-alone outpost belongs to, perhaps with a path.
        ///
        /// Required by `portcullis outpost`; nothing else looks at it.
        host: Option<BaseUrl> = "", also "AUTHENTIK_";
        /// API token of the stand-alone outpost's service account. Required by `portcullis outpost`.
        ///
        /// The sessions that the outpost keeps are sealed with a key that is derived from it: with another token, they
        /// are gone.
        token: Option<Secret> = "", also "AUTHENTIK_";
        /// Whether a stand-alone outpost does not verify the certificate of its control plane.
        ///
        /// Whoever is on the way can then read passwords and let anybody in. Better name the authority in
        /// `proxy.upstream_authorities`.
        insecure: bool = "false", also "AUTHENTIK_";
        /// URL under which browsers find the control plane of a stand-alone outpost, if it is not the one in `host`.
        ///
        /// Without it, `authentik_host_browser` of the outpost's own configuration counts.
        host_browser: Option<String> = "", also "AUTHENTIK_";
        /// Least severe messages to log: `trace`, `debug`, `info`, `warning` or `error`.
        ///
        /// Also a filter by module in the syntax of `tracing`, such as `info,portcullis_proxy=debug`.
        log_level: LogLevel = "info", also "AUTHENTIK_";
        /// Names of attributes of users, groups and brands that are secret.
        ///
        /// A `*` stands for any characters; case does not matter. Secret attributes are shown as `********` to whoever
        /// may not change them, appear in no event, and no filter finds them. What a proxy provider names as its
        /// `basic_auth_password_attribute` is secret anyway, keys under `goauthentik.io/` never are.
        secret_attributes: Vec<Pattern> = "*password*,*secret*,*_token,*api_key*";
    }

    /// The audit trail.
    events "events." Events {
        /// Whether the API shows the full name of custom events as their action.
        ///
        /// Without it, their action is `custom_`, as strict clients expect, and the full name is in
        /// `context.custom_action`.
        verbatim_custom_actions: bool = "false";
    }

    /// What is known of addresses: databases in MaxMind's format (`.mmdb`), such as GeoLite2 or those of DB-IP.
    ///
    /// Events and sessions tell what they say, policies find it as `context["geoip"]` and `context["asn"]`, and sessions can be
    /// bound to it. A file that is missing is waited for, and one that changes is read again within seconds.
    context_processors "events.context_processors." ContextProcessors {
        /// Database of cities, or of countries.
        geoip: Option<PathBuf> = "", also "AUTHENTIK_";
        /// Database of networks and the autonomous systems that they are part of.
        asn: Option<PathBuf> = "", also "AUTHENTIK_";
    }

    /// The database.
    database "database." Database {
        /// Where the database is, such as `sqlite:/srv/portcullis/portcullis.db` or
        /// `postgres://portcullis:password@db.example/portcullis?sslmode=verify-full`.
        ///
        /// Without it, the file `portcullis.db` in the data directory, for one process. Several processes can share a
        /// PostgreSQL database; all of them need the same `secret_key`. Of what PostgreSQL's own programs take in such a
        /// URL, `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `host`, `port`, `dbname`, `user`, `password`,
        /// `application_name` and `options` are known.
        url: Option<DatabaseUrl> = "";
        /// Connections to PostgreSQL that this process may have at the same time, besides three that it always has.
        connections: usize = "20";
    }

    /// Sockets. An empty list turns a listener off. `[::]` takes IPv4 as well.
    listen "listen." Listen {
        /// Sockets for plain HTTP.
        http: Vec<SocketAddr> = "[::]:9000", also "AUTHENTIK_";
        /// Sockets for HTTPS. Each application shows the certificate that its provider names, and the host of `base_url` one
        /// that is for it; whatever else is asked for gets one that is self-signed and made anew at every start.
        https: Vec<SocketAddr> = "[::]:9443", also "AUTHENTIK_";
        /// Sockets for `/metrics` and health. They show no secrets, yet are nobody's business.
        metrics: Vec<SocketAddr> = "127.0.0.1:9300", also "AUTHENTIK_";
        /// Networks of reverse proxies whose `X-Forwarded-*` headers are believed, and of balancers whose PROXY protocol
        /// is.
        ///
        /// Name your own reverse proxy here and nothing else: whoever is trusted can pretend to be any address. A
        /// connection from here may begin with a header of the PROXY protocol, version 1 or 2. The address in it then
        /// counts as the peer's, also when it is decided whether `X-Forwarded-*` headers are believed.
        trusted_proxy_cidrs: Vec<IpNet> = "127.0.0.0/8,::1/128", also "AUTHENTIK_";
    }

    /// A stand-alone outpost, `portcullis outpost`.
    outpost "outpost." Outpost {
        /// Where sessions are kept: `file` (`outpost` in the data directory, mode 0600, sealed), which they survive a
        /// restart in, or `memory`.
        sessions: KeepSessions = "file";
        /// Within how long after a change at the control plane the configuration is read again, at most `9s`.
        ///
        /// Each process has a moment of its own within it, so that many outposts do not come all at once. Revocations
        /// do not wait for it.
        refresh_spread: Span = "9s";
    }

    /// Requests of ours to servers that administrators name, such as those that publish keys of a source.
    outbound "outbound." Outbound {
        /// Whether plain `http` is good enough. Whoever is on the way can then answer in the server's place.
        allow_http: bool = "false";
        /// Private and local networks that may be asked all the same: by default none is.
        allowed_networks: Vec<IpNet> = "";
    }

    /// What is logged, and how. Everything goes to standard error.
    log "log." Log {
        /// `text` for people, `json` for machines: one object a line. `auto` is `text` on a terminal, `json` elsewhere.
        format: LogFormat = "auto";
        /// Whether every request is logged.
        access: bool = "true";
        /// Request headers that the access log shows. Credentials and cookies are never shown.
        http_headers: Vec<FieldName> = "User-Agent", also "AUTHENTIK_";
    }

    /// Time limits of the listeners. Those for bodies are limits without progress, never on the whole.
    web "web." Web {
        /// How long a client may take for the head of a request.
        timeout_http_read_header: Span = "5s", also "AUTHENTIK_";
        /// How long a request body may make no progress.
        timeout_http_read: Span = "30s", also "AUTHENTIK_";
        /// How long a client may take no byte of an answer.
        timeout_http_write: Span = "60s", also "AUTHENTIK_";
        /// How long an idle connection is kept.
        timeout_http_idle: Span = "120s", also "AUTHENTIK_";
        /// How long requests in flight may take to finish when the process is told to stop.
        drain_timeout: Span = "30s";
    }

    /// How long people stay signed in.
    sessions "sessions." Sessions {
        /// Ends a session this long after sign-in, however much it is used.
        absolute_lifetime: Span = "30d";
    }

    /// Passwords of users.
    passwords "passwords." Passwords {
        /// Whether an administrator, too, may set only passwords that meet the password policy.
        ///
        /// Otherwise weak ones are set, and the event tells which rules they fail.
        strict_admin_set: bool = "false";
    }

    /// API tokens and app passwords.
    tokens "tokens." Tokens {
        /// Whether keys can be seen again by those who may, each time with an event.
        ///
        /// Without it `view_key/` answers 410, and whoever has lost a key, or has just made a token, lets `rotate/` tell
        /// another one.
        viewable_keys: bool = "true";
        /// Whether generated keys say what they are, for programs that look for leaked secrets.
        ///
        /// An app password then begins with `pcap_`, an API token with `pcat_`, and both end with six characters of a
        /// checksum. Keys without them are as good.
        labelled_keys: bool = "false";
        /// How long an account that was made for a machine's assertion stays after the last one has ended.
        ///
        /// It gets no tokens without another assertion; with one it is the same account, with the same subject.
        generated_account_retention: Span = "30d";
    }

    /// When failed attempts to sign in slow somebody down. Counters are kept in the database, without names or addresses.
    ///
    /// An address is an IPv4 address or an IPv6 /64. Nobody's failures lock the owner of an account out elsewhere.
    limits "limits." SignInLimits {
        /// Failures of one address with one user name before it has to wait.
        per_name_and_address: Rate = "10/5m";
        /// Failures of one address before it has to wait.
        per_address: Rate = "60/5m";
        /// User names with which one address fails before it has to wait.
        identifiers: Rate = "30/10m";
        /// Failures with one user name from everywhere before answers are delayed, by 2 seconds at most.
        per_name: Rate = "100/1h";
        /// Wrong passwords of one address for one user name before the next one is not examined for a while.
        ///
        /// For 30 seconds at first, twice as long after each further one, and at most for the window of time named here.
        account: Rate = "5/15m";
        /// Wrong codes of a second factor before that user's codes are not examined for as long.
        second_factor: Rate = "5/15m";
        /// Flows that one address may start in a minute.
        flow_starts: usize = "600";
        /// Devices that one address may have ask to be let in in an hour.
        device_starts: usize = "20";
        /// Requests to the API that one address may make in a second without credentials.
        api_per_second: usize = "200";
        /// How many of those may come at once.
        api_burst: usize = "1000";
        /// Limits that are off, each a name such as `account`. Every start with one of them warns, and records an event.
        off: Vec<LimitName> = "";
    }

    /// What policies ask of others.
    policies "policies." Policies {
        /// Where a password policy that looks for breached passwords asks: the range service of Pwned Passwords, or a
        /// copy of it.
        ///
        /// Nothing is asked unless a policy says so. The service learns the first five hex digits of the SHA-1 of a
        /// password, never the password. Empty: such policies cannot be evaluated.
        breached_passwords_url: Option<BaseUrl> = "https://api.pwnedpasswords.com/range";
    }

    /// Mail: links for people who forgot their password. `portcullis test-email ADDRESS` tries it out.
    email "email." Email {
        /// Mail server. Empty: no mail is sent.
        host: Option<String> = "", also "AUTHENTIK_";
        /// Its port: mostly 587 with `use_tls`, 465 with `use_ssl`.
        port: u16 = "25", also "AUTHENTIK_";
        /// User name, if the server asks for one.
        username: Option<String> = "", also "AUTHENTIK_";
        /// Password that goes with it.
        password: Option<Secret> = "", also "AUTHENTIK_";
        /// Whether the connection is encrypted by `STARTTLS`, without which nothing is sent.
        use_tls: bool = "false", also "AUTHENTIK_";
        /// Whether the connection is encrypted from its beginning.
        ///
        /// One of the two, unless the server is on this machine: whoever reads a mail can take over an account.
        use_ssl: bool = "false", also "AUTHENTIK_";
        /// Longest time for one mail, in whole.
        timeout: Seconds = "30s", also "AUTHENTIK_";
        /// Whom mail comes from: an address, or a name and an address in angle brackets.
        from: String = "Portcullis <portcullis@localhost>", also "AUTHENTIK_";
    }

    /// Expressions of policies and property mappings.
    expressions "expressions." Expressions {
        /// Whether expressions may look up names and addresses (`resolve_dns`, `reverse_dns`).
        dns: bool = "true";
    }

    /// The data plane: how requests to applications are authenticated and carried.
    proxy "proxy." Proxy {
        /// How long verified `Authorization` credentials are believed without asking again, at most `60s`.
        ///
        /// A deleted app password, a deactivated user, a lost membership is refused at once whatever this says.
        header_cache_ttl: Minute = "60s";
        /// How long refused credentials are refused without asking again, at most `60s`.
        negative_cache_ttl: Minute = "10s";
        /// Failed attempts from one client address before it has to wait.
        auth_failure_limit_per_address: Rate = "20/60s";
        /// Failed attempts from one client address for one user name before they have to wait.
        auth_failure_limit_per_username: Rate = "10/60s";
        /// Longest wait for the control plane's answer about credentials.
        core_timeout: Span = "10s";
        /// Longest wait of a stand-alone outpost for a connection to the control plane.
        core_connect_timeout: Span = "5s";
        /// How long sessions of a stand-alone outpost are believed while the control plane cannot be asked, from when
        /// the connection to it was lost. After that, requests get 503 until it is back.
        ///
        /// What was revoked before the connection was lost is refused at once whatever this says.
        revalidation_grace: Span = "5m";
        /// Whether requests that no person would see get 401 instead of a redirect to the sign-in page.
        negotiate_unauthenticated: bool = "true";
        /// Whether CORS preflight requests pass without authentication.
        allow_cors_preflight: bool = "false";
        /// Whether an `Authorization` header beside a session cookie reaches the application although the provider
        /// intercepts that header. Credentials that Portcullis itself has accepted never do.
        authorization_passthrough_with_session: bool = "false";
        /// Whether HTTP Basic is sent to the application with an empty password (`send`) or not at all (`omit`)
        /// when the user has no password attribute.
        empty_basic_password: EmptyBasicPassword = "send";
        /// What `X-authentik-jwt` carries: `assertion` made for the application, `full` (the token itself) or `off`.
        forward_jwt: ForwardJwt = "assertion";
        /// Further request headers that never reach an application.
        strip_request_headers: Vec<FieldName> = "";
        /// PEM files with certificate authorities that, beside the system's, may sign the certificates of https
        /// applications. They are read at start.
        ///
        /// Better than switching `internal_host_ssl_validation` off where applications have certificates of your own.
        upstream_authorities: Vec<PathBuf> = "";
        /// How long a browser may take to sign in before it has to start again.
        state_ttl: Span = "60m";
        /// Whether the only provider, if there is exactly one, answers for every host.
        ///
        /// Without it: yes in a stand-alone outpost, no otherwise.
        single_app_fallback: Option<bool> = "";
        /// Most bytes of identity headers sent to an application.
        max_identity_header_bytes: usize = "16384";
        /// Whether proxied answers carry `X-Powered-By`.
        powered_by: bool = "true";
        /// Whether `103 Early Hints` of applications over plain `http` reach clients over HTTP/1.1. Only where no proxy in
        /// front takes one for the answer: it would hand the answer to whoever asks next.
        early_hints: bool = "false";
    }
}

impl Settings {
    /// Whether the list of trusted networks is the built-in one (PX-045).
    pub(crate) fn trusts_by_default(&self) -> bool {
        let default = declarations().find(|declared| declared.key == "listen.trusted_proxy_cidrs");
        default.is_some_and(|declared| {
            value::Value::read(declared.default).as_ref() == Some(&self.listen.trusted_proxy_cidrs)
        })
    }

    /// The public URL, unless it is the built-in one, which only this machine reaches (CO-506).
    pub(crate) fn own_base_url(&self) -> Option<&BaseUrl> {
        let default = declarations().find(|declared| declared.key == "base_url");
        let built_in = default.and_then(|declared| value::Value::read(declared.default));
        Some(&self.general.base_url).filter(|set| Some(*set) != built_in.as_ref())
    }
}

impl Sessions {
    /// As the services take it.
    pub(crate) fn lifetimes(&self) -> Lifetimes {
        Lifetimes { absolute_seconds: seconds(self.absolute_lifetime).into() }
    }
}

fn seconds(span: Span) -> u32 {
    u32::try_from(span.0.as_secs()).unwrap_or(u32::MAX)
}

impl SignInLimits {
    /// As the services take them.
    pub(crate) fn of_sign_in(&self) -> Limits {
        let count = |name: LimitName, count: u32| if self.off.contains(&name) { u32::MAX } else { count };
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Limits {
            per_name_and_address: count(LimitName::PerNameAndAddress, self.per_name_and_address.count),
            per_address: count(LimitName::PerAddress, self.per_address.count),
            address_window_seconds: seconds(self.per_address.window),
            name_and_address_window_seconds: seconds(self.per_name_and_address.window),
            per_name: count(LimitName::PerName, self.per_name.count),
            name_window_seconds: seconds(self.per_name.window),
            identifiers: count(LimitName::Identifiers, self.identifiers.count),
            identifiers_window_seconds: seconds(self.identifiers.window),
            account: count(LimitName::Account, self.account.count),
            account_window_seconds: seconds(self.account.window),
            second_factor: count(LimitName::SecondFactor, self.second_factor.count),
            second_factor_window_seconds: seconds(self.second_factor.window),
            flow_starts_per_minute: count(LimitName::FlowStarts, small(self.flow_starts)),
            device_starts_per_hour: small(self.device_starts),
            api_per_second: count(LimitName::Api, small(self.api_per_second)),
            api_burst: count(LimitName::Api, small(self.api_burst)),
            ..Limits::default()
        }
    }
}

impl Proxy {
    /// As the data plane takes them.
    pub(crate) fn of_data_plane(&self, single_app_fallback: bool) -> ProxySettings {
        let limit = |rate: Rate| Limit { count: rate.count, window: rate.window.0 };
        ProxySettings {
            header_cache_ttl: self.header_cache_ttl.0,
            negative_cache_ttl: self.negative_cache_ttl.0,
            failures_per_address: limit(self.auth_failure_limit_per_address),
            failures_per_username: limit(self.auth_failure_limit_per_username),
            core_timeout: self.core_timeout.0,
            negotiate_unauthenticated: self.negotiate_unauthenticated,
            allow_cors_preflight: self.allow_cors_preflight,
            authorization_passthrough_with_session: self.authorization_passthrough_with_session,
            empty_basic_password: self.empty_basic_password,
            forward_jwt: self.forward_jwt,
            strip_request_headers: self.strip_request_headers.iter().map(|name| name.0.to_string()).collect(),
            state_ttl: self.state_ttl.0,
            single_app_fallback,
            max_identity_header_bytes: self.max_identity_header_bytes,
            powered_by: self.powered_by,
        }
    }
}

/// The effective settings as a file that could be used, with the place where each was set.
pub(crate) fn effective(settings: &Settings, layers: &Layers) -> String {
    use std::fmt::Write;

    let mut shown = settings.shown().into_iter();
    let mut text = String::new();
    for section in SECTIONS {
        if !section.prefix.is_empty() {
            let _ = writeln!(text, "\n[{}]", section.prefix.trim_end_matches('.'));
        }
        for (declared, value) in section.settings.iter().zip(&mut shown) {
            let name = declared.key.trim_start_matches(section.prefix);
            let value = toml::Value::String(value);
            let _ = writeln!(text, "{:<60} # {}", format!("{name} = {value}"), layers.place(declared.key));
        }
    }
    text
}
