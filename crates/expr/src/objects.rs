//! What an expression sees of the world: plain data, without secrets, so that there is nothing to leak (CO-229).

use std::{net::IpAddr, sync::Arc};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use crate::value::Value;

/// A user (CO-232). Groups, roles and entitlements are asked of the [`Host`](crate::Host) when they are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct User {
    /// The number of the user; `None` for the anonymous user.
    pub pk: Option<i32>,
    /// The user's UUID.
    pub uuid: String,
    /// The identifier that is told to applications.
    pub uid: String,
    /// The name to sign in with.
    pub username: String,
    /// The display name.
    pub name: String,
    /// The e-mail address, possibly empty.
    pub email: String,
    /// The folder of the user, such as `users`.
    pub path: String,
    /// The kind of account, such as `internal`.
    pub kind: String,
    /// Whether the user may sign in.
    pub is_active: bool,
    /// Whether the user is in a group that makes administrators.
    pub is_superuser: bool,
    /// When the account was made.
    pub date_joined: Option<DateTime<Utc>>,
    /// When the user last signed in.
    pub last_login: Option<DateTime<Utc>>,
    /// When the account was last changed.
    pub last_updated: Option<DateTime<Utc>>,
    /// When the password was last set.
    pub password_change_date: Option<DateTime<Utc>>,
    /// Whether there is a password to sign in with.
    pub has_usable_password: bool,
    /// The user's own attributes. The caller leaves out those that are secret here (CO-229).
    pub attributes: Map<String, Json>,
    /// How a pending user has authenticated in the current flow; absent otherwise.
    pub backend: Option<String>,
}

impl User {
    /// Nobody: the user of a request without a session.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { username: "AnonymousUser".to_owned(), ..Self::default() }
    }

    /// Whether this is nobody.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.pk.is_none()
    }
}

/// A group (CO-234). Parents, children and roles are asked of the [`Host`](crate::Host) when they are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// The group's UUID, which is its primary key.
    pub pk: String,
    /// A number for systems that know groups by number.
    pub num_pk: i64,
    /// The name.
    pub name: String,
    /// Whether members are administrators.
    pub is_superuser: bool,
    /// The group's own attributes, without secret ones.
    pub attributes: Map<String, Json>,
}

/// A role or another thing of which expressions see only its key and name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamedObject {
    /// The primary key.
    pub pk: String,
    /// The name.
    pub name: String,
}

/// An application (CO-234).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Application {
    /// The application's UUID.
    pub pk: String,
    /// The name.
    pub name: String,
    /// The short name in URLs.
    pub slug: String,
    /// The heading under which it is listed.
    pub group: String,
    /// Where a click in the library leads.
    pub meta_launch_url: String,
    /// The provider; `None` when there is none or when the application was reached through it.
    pub provider: Option<Box<Provider>>,
}

/// A provider (CO-234). The client secret is not part of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Provider {
    /// The number of the provider.
    pub pk: i32,
    /// The name.
    pub name: String,
    /// The application it serves; `None` when there is none or when it was reached through it.
    pub application: Option<Box<Application>>,
    /// The OAuth2 client id.
    pub client_id: Option<String>,
    /// Where a proxied application answers.
    pub external_host: Option<String>,
    /// How a proxied application is served.
    pub mode: Option<String>,
}

/// A source of identities.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Source {
    /// The source's UUID.
    pub pk: String,
    /// The name.
    pub name: String,
    /// The short name in URLs.
    pub slug: String,
}

/// A brand: what pages of one host name look like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Brand {
    /// The brand's UUID.
    pub pk: String,
    /// The domain it serves.
    pub domain: String,
    /// The title.
    pub branding_title: String,
    /// The brand's attributes, without secret ones.
    pub attributes: Map<String, Json>,
}

/// An event, as a notification rule's policy sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    /// The event's UUID.
    pub pk: String,
    /// What happened, such as `login_failed`.
    pub action: String,
    /// Which part recorded it.
    pub app: String,
    /// The client's address.
    pub client_ip: Option<String>,
    /// The details.
    pub context: Map<String, Json>,
    /// Who caused it.
    pub user: Map<String, Json>,
    /// When it happened.
    pub created: Option<DateTime<Utc>>,
}

/// A token that is being issued, as scope mappings see it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Token {
    /// The granted scopes.
    pub scope: Vec<String>,
    /// When it expires.
    pub expires: Option<DateTime<Utc>>,
    /// When its user authenticated.
    pub auth_time: Option<DateTime<Utc>>,
    /// Whether it belongs to a browser session.
    pub session: bool,
}

/// What a policy came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyResult {
    /// Whether it passed.
    pub passing: bool,
    /// What it has to say to the person.
    pub messages: Vec<String>,
    /// The value behind `passing`.
    pub raw_result: Json,
}

/// The HTTP request (CO-238).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HttpRequest {
    /// `GET` and the like.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// Host and port, as sent.
    pub host: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The id of the request in the log.
    pub request_id: String,
    /// What follows the `?`, as sent.
    pub query: String,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// The name the server was addressed by.
    pub server_name: String,
    /// Who sends the request.
    pub user: Option<Arc<User>>,
    /// The brand of the host.
    pub brand: Option<Arc<Brand>>,
    /// The instance's settings, as attributes of `tenant`.
    pub tenant: Vec<(String, Value)>,
    /// The headers.
    pub headers: VisibleHeaders,
}

/// Headers that carry credentials: no expression sees them.
const CREDENTIAL_HEADERS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-authentik-outpost-token"];

/// The headers of a request without those that carry credentials (CO-238).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VisibleHeaders(Vec<(String, String)>);

impl VisibleHeaders {
    /// Names in any case, values as they are. Several of one name are joined.
    pub fn of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut visible: Vec<(String, String)> = Vec::new();
        for (name, value) in headers {
            // Servers that fold names read `_` as `-`, so a credential spelt with it is one as well.
            let name = name.to_ascii_lowercase();
            if CREDENTIAL_HEADERS.contains(&name.replace('_', "-").as_str()) {
                continue;
            }
            match visible.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => {
                    known.push_str(", ");
                    known.push_str(value);
                }
                None => visible.push((name, value.to_owned())),
            }
        }
        Self(visible)
    }

    /// Names in lower case, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a header, its name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}
