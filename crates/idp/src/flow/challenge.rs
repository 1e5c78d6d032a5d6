//! What a browser is asked (CO-303, CO-533).

use serde_json::Value;
use uuid::Uuid;

/// What a browser is asked at its present step.
#[derive(Clone, Debug, PartialEq)]
pub enum Challenge {
    /// Who it is.
    Identification(Identification),
    /// The password.
    Password {
        /// Whose, as typed.
        user: Shown,
        /// Whether the recovery flow can be taken instead.
        recovery: bool,
        /// Whether the page may show what is typed.
        allow_show_password: bool,
        /// What a passkey is asked for, which would do instead.
        passkey: Option<Value>,
    },
    /// A second factor, or which one to enrol.
    SecondFactor {
        /// Whose.
        user: Shown,
        /// Those that would do.
        devices: Vec<Device>,
        /// Those that can be enrolled instead, when there is none.
        setups: Vec<Setup>,
    },
    /// A code of the authenticator app that is being enrolled.
    Totp {
        /// Whose.
        user: Shown,
        /// `otpauth` URL with the seed.
        url: String,
    },
    /// That the new recovery codes are kept.
    Static {
        /// Whose.
        user: Shown,
        /// The codes, shown this once.
        codes: Vec<String>,
    },
    /// A new security key or passkey.
    WebAuthn {
        /// Whose.
        user: Shown,
        /// What the browser is to make: `PublicKeyCredentialCreationOptions` as JSON.
        registration: Value,
    },
    /// A yes.
    Consent {
        /// Whose.
        user: Shown,
        /// What for, when it is no application.
        header: String,
        /// What was agreed to earlier.
        permissions: Vec<String>,
        /// What is new.
        additional: Vec<String>,
        /// Makes the yes count.
        token: String,
    },
    /// Whether to stay signed in.
    RememberMe {
        /// Whose.
        user: Shown,
    },
    /// Nothing: a mail was sent, if there is somebody to send it to.
    Email,
    /// To fill in a form.
    Prompt {
        /// What it is about.
        about: Prompted,
        /// Its fields.
        fields: Vec<Field>,
        /// Whose new password it is, where it asks for one.
        username: Option<String>,
    },
    /// Whether the session is to end, or nothing when it goes on.
    SessionEnd {
        /// Whose.
        user: Shown,
        /// What the instance calls itself.
        site: String,
    },
    /// To load these addresses, by which clients hear of the sign-out, and to go on whether they heard it or not (OA-550).
    TellClients {
        /// The addresses.
        frames: Vec<String>,
    },
    /// Nothing: the flow is not for this visitor, or over.
    Denied {
        /// Whose, as far as known.
        user: Shown,
        /// Why.
        message: String,
        /// What would help.
        remedy: Remedy,
    },
}

/// Whom a step is about, as far as visitors may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// User name, or what was typed.
    pub username: String,
}

/// How visitors say who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification {
    /// Fields that are looked at.
    pub user_fields: Vec<String>,
    /// Whether the password is asked for at the same time.
    pub password_fields: bool,
    /// Whether the page may show the password.
    pub allow_show_password: bool,
    /// The name that is offered, or was typed before.
    pub identifier: Option<String>,
    /// Name of the application that somebody wants to reach.
    pub application: Option<String>,
    /// Whether the recovery flow can be taken instead.
    pub recovery: bool,
    /// Whether the browser may remember the user name.
    pub enable_remember_me: bool,
    /// What the flow is for.
    pub designation: String,
    /// What a passkey is asked for, which would do instead: `PublicKeyCredentialRequestOptions` as JSON.
    pub passkey: Option<Value>,
}

/// A second factor that would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `totp`, `static` or `webauthn`.
    pub class: String,
    /// Key.
    pub pk: i32,
    /// When it was used last.
    pub last_used: Option<portcullis_core::clock::Timestamp>,
    /// What the browser is to do with it: `PublicKeyCredentialRequestOptions` as JSON; nothing for codes. All security keys
    /// of a user are asked at once.
    pub challenge: Option<Value>,
}

/// A stage that enrols a second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Key.
    pub pk: Uuid,
    /// Name.
    pub name: String,
    /// What it enrols, for people.
    pub title: &'static str,
    /// Kind.
    pub model: String,
}

/// What a form is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompted {
    /// A new password.
    NewPassword,
    /// The user's own fields.
    Settings,
    /// The first administrator.
    FirstAdministrator,
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Key of the answer.
    pub key: &'static str,
    /// What it is called.
    pub label: &'static str,
    /// `text`, `password`, `email`, `username` or `ak-locale`.
    pub kind: &'static str,
    /// Whether it must be filled in.
    pub required: bool,
    /// What is in it.
    pub value: String,
    /// Whether it is shown, and cannot be changed.
    pub read_only: bool,
}

/// What would help somebody who is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Remedy {
    /// Nothing that we know of.
    None,
    /// Signing in.
    SignIn,
    /// Signing out.
    SignOut,
    /// Beginning again.
    Again,
}

impl Challenge {
    /// How clients know it (CO-303).
    pub fn component(&self) -> &'static str {
        match self {
            Self::Identification(_) => "ak-stage-identification",
            Self::Password { .. } => "ak-stage-password",
            Self::SecondFactor { .. } => "ak-stage-authenticator-validate",
            Self::Totp { .. } => "ak-stage-authenticator-totp",
            Self::Static { .. } => "ak-stage-authenticator-static",
            Self::WebAuthn { .. } => "ak-stage-authenticator-webauthn",
            Self::Consent { .. } => "ak-stage-consent",
            Self::RememberMe { .. } => "ak-stage-user-login",
            Self::Email => "ak-stage-email",
            Self::Prompt { .. } => "ak-stage-prompt",
            Self::SessionEnd { .. } => "ak-stage-session-end",
            Self::TellClients { .. } => "ak-provider-iframe-logout",
            Self::Denied { .. } => "ak-stage-access-denied",
        }
    }
}
