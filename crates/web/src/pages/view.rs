//! What the pages show. Templates are in `templates/`; these are their holes.

use askama::Template;
use portcullis_idp::oauth::consent::Permission;

/// Asks for user name and password.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignIn<'a> {
    /// Name of the application that somebody wants to reach, if any.
    pub application: Option<&'a str>,
    /// Path and query to post to; keeps `next`.
    pub action: &'a str,
    /// What the form is known by when its button is pressed twice.
    pub form: &'a str,
    /// What was typed before.
    pub identifier: &'a str,
    /// Why the last attempt failed, and what to do.
    pub problem: Option<&'a str>,
    /// Where those go who forgot their password, if there is such a place.
    pub recovery: Option<&'a str>,
    /// What a passkey is asked for instead.
    pub passkey: Option<&'a Key>,
    /// Why the passkey that was shown does not count, and what to do.
    pub passkey_problem: Option<&'a str>,
}

/// What a browser is to do with passkeys and security keys.
pub struct Key {
    /// Options of its API as JSON.
    pub options: String,
    /// The origin that they are for.
    pub origin: String,
}

/// Asks for a second factor.
#[derive(Template)]
#[template(path = "second_factor.html")]
pub struct SecondFactor<'a> {
    /// Whose, as typed.
    pub username: &'a str,
    /// What was wrong, and what to do.
    pub problem: Option<&'a str>,
    /// What a key is asked for, if there is one that can be used here.
    pub key: Option<&'a Key>,
    /// Whether there is one that cannot be used here.
    pub keys_elsewhere: bool,
    /// Which code would do, if there is one that would.
    pub code: Option<&'a str>,
    /// Path and query to post to.
    pub action: &'a str,
    /// Where to go instead.
    pub cancel: &'a str,
}

/// Sets up a passkey or security key.
#[derive(Template)]
#[template(path = "webauthn.html")]
pub struct WebAuthn<'a> {
    /// What the browser is to make.
    pub key: &'a Key,
    /// What was wrong, and what to do.
    pub problem: Option<&'a str>,
    /// Path and query to post to.
    pub action: &'a str,
    /// Where to go instead.
    pub back: &'a str,
}

/// A step of a flow that is a plain form.
#[derive(Template)]
#[template(path = "flow_form.html")]
pub struct FlowForm<'a> {
    /// What is asked.
    pub title: &'a str,
    /// What it means.
    pub texts: &'a [&'a str],
    /// What was wrong, and what to do.
    pub problem: Option<&'a str>,
    /// What is filled in.
    pub inputs: &'a [Input],
    /// What is sent along.
    pub hidden: &'a [(&'static str, String)],
    /// Path and query to post to.
    pub action: &'a str,
    /// The button that sends the form.
    pub button: &'a str,
    /// Where to go instead.
    pub back: Option<&'a Link<'a>>,
    /// Whose password is typed, for what keeps passwords.
    pub username: Option<&'a str>,
}

/// A field of a form.
pub struct Input {
    /// Its name.
    pub name: &'static str,
    /// What it is called.
    pub label: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// What browsers may fill in.
    pub autocomplete: &'static str,
    /// Whether it must be filled in.
    pub required: bool,
    /// What is in it.
    pub value: String,
    /// Whether that was wrong.
    pub wrong: bool,
    /// Whether it is shown and cannot be changed.
    pub read_only: bool,
    /// What is said beside its name, or nothing.
    pub hint: &'static str,
    /// Whether one begins here.
    pub autofocus: bool,
}

impl Input {
    /// An empty field that must be filled in.
    pub fn new(name: &'static str, label: &'static str, kind: &'static str) -> Self {
        Self {
            name,
            label,
            kind,
            autocomplete: "off",
            required: true,
            value: String::new(),
            wrong: false,
            read_only: false,
            hint: "",
            autofocus: false,
        }
    }
}

/// Asks which second factor somebody wants to enrol.
#[derive(Template)]
#[template(path = "choose_setup.html")]
pub struct ChooseSetup<'a> {
    /// Those that can be.
    pub setups: &'a [portcullis_idp::flow::challenge::Setup],
    /// What was wrong, and what to do.
    pub problem: Option<&'a str>,
    /// Path and query to post to.
    pub action: &'a str,
    /// Where to go instead.
    pub cancel: &'a str,
}

/// Enrols an authenticator app.
#[derive(Template)]
#[template(path = "totp.html")]
pub struct Totp<'a> {
    /// The QR code as a `data:` URI, or nothing.
    pub picture: String,
    /// What it says: an `otpauth` URL.
    pub url: &'a str,
    /// The seed, to be typed.
    pub secret: &'a str,
    /// What was wrong, and what to do.
    pub problem: Option<&'a str>,
    /// Path and query to post to.
    pub action: &'a str,
    /// Where somebody goes who wants none.
    pub back: &'a str,
}

/// A user's second factors.
#[derive(Template)]
#[template(path = "second_factors.html")]
pub struct SecondFactors<'a> {
    /// What there is, oldest first.
    pub devices: &'a [portcullis_idp::authenticators::Shown],
    /// Whether there is something else than recovery codes: they are for who has lost it.
    pub has_another: bool,
    /// Whether there are recovery codes.
    pub has_codes: bool,
}

/// Shows new recovery codes, once.
#[derive(Template)]
#[template(path = "recovery_codes.html")]
pub struct RecoveryCodes<'a> {
    /// The codes.
    pub codes: &'a [String],
    /// What was wrong, and what to do.
    pub problem: Option<&'a str>,
    /// Path and query to post to.
    pub action: &'a str,
    /// The step that is answered.
    pub component: &'a str,
    /// Where somebody goes who wants none.
    pub back: &'a str,
}

/// Asks for the first administrator's e-mail address and password (CO-486).
#[derive(Template)]
#[template(path = "setup.html")]
pub struct Setup<'a> {
    /// What was typed before.
    pub code: &'a str,
    /// What was typed before.
    pub email: &'a str,
    /// What was wrong, and what to do.
    pub problem: Option<&'a str>,
    /// The field that it is about, or nothing.
    pub wrong: &'a str,
}

/// Says one thing, and where to go from here: signed out, denied, not found, too many attempts.
#[derive(Template)]
#[template(path = "message.html")]
pub struct Message<'a> {
    /// Status shown small above the title, for errors.
    pub status: Option<u16>,
    /// The one thing.
    pub title: &'a str,
    /// What it means, and what to do.
    pub text: &'a str,
    /// Further messages, such as those of policies (CO-140).
    pub messages: &'a [String],
    /// Why, step by step, for those whom it helps (CO-140).
    pub trace: &'a [String],
    /// Where to go; the first one is emphasised.
    pub links: &'a [Link<'a>],
    /// The request's id, or empty when it helps nobody.
    pub request_id: &'a str,
}

/// A link that looks like a button.
pub struct Link<'a> {
    /// Where it leads.
    pub href: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// Asks before doing what another site may have asked for (CO-323).
#[derive(Template)]
#[template(path = "confirm.html")]
pub struct Confirm<'a> {
    /// What is about to happen.
    pub title: &'a str,
    /// What it means.
    pub text: &'a str,
    /// Where the confirmation is posted.
    pub action: &'a str,
    /// What is posted with it.
    pub members: &'a [(String, String)],
    /// The confirming button.
    pub button: &'a str,
    /// Where to go instead.
    pub back: &'a str,
    /// What that is called.
    pub stay: &'a str,
}

/// Asks before a device is let in (OA-374).
#[derive(Template)]
#[template(path = "device.html")]
pub struct Device<'a> {
    /// Name of the application.
    pub application: &'a str,
    /// User name of whoever is asked.
    pub username: &'a str,
    /// The code that the device shows.
    pub user_code: &'a str,
    /// What the application will know and may do.
    pub permissions: &'a [Permission],
}

/// Has the browser tell clients that its session ended (OA-550).
#[derive(Template)]
#[template(path = "signing_out.html")]
pub struct SigningOut<'a> {
    /// What is loaded for that.
    pub frames: &'a [String],
    /// Where to go then.
    pub next: &'a str,
}

/// Asks before an application learns who somebody is (OA-166, OA-167).
#[derive(Template)]
#[template(path = "consent.html")]
pub struct Consent<'a> {
    /// Name of the application.
    pub application: &'a str,
    /// User name of whoever is asked.
    pub username: &'a str,
    /// What they agreed to earlier.
    pub known: &'a [Permission],
    /// What is new.
    pub additional: &'a [Permission],
    /// Path to post a yes to.
    pub action: &'a str,
    /// The request, posted with the yes: it may be too long for an address.
    pub members: &'a [(String, String)],
    /// What makes the yes count.
    pub token: &'a str,
    /// Whether a yes was sent that did not count.
    pub again: bool,
    /// Back to the client with a no.
    pub back: &'a str,
}

/// Brings the answer to an authorization request to a client that wants it posted, by itself (OA-166, OA-175).
#[derive(Template)]
#[template(path = "deliver.html")]
pub struct Deliver<'a> {
    /// The client's redirect URI.
    pub action: &'a str,
    /// What the answer says.
    pub members: &'a [(&'static str, String)],
}

/// Has the browser post a request of another site once more, by itself, from a page of ours (OA-085).
#[derive(Template)]
#[template(path = "deliver.html")]
pub struct Again<'a> {
    /// Path and query of ours.
    pub action: &'a str,
    /// What the request says.
    pub members: &'a [(String, String)],
}

/// Who is signed in, and what is open to them.
#[derive(Template)]
#[template(path = "home.html")]
pub struct Home<'a> {
    /// What was done just now.
    pub done: Option<&'a str>,
    /// User name.
    pub username: &'a str,
    /// Display name.
    pub name: &'a str,
    /// Applications with a launch URL that the policies open, by name.
    pub applications: &'a [Tile],
}

/// An application on the home page.
pub struct Tile {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its launch URL.
    pub href: String,
    /// Whether it opens beside this page.
    pub new_tab: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-311, CO-310: what a visitor typed comes back escaped, and a password never comes back.
    #[test]
    fn px_311_typed_text_is_escaped_in_the_sign_in_page() {
        let page = SignIn {
            application: Some("<Wiki>"),
            action: "/if/flow/x/?next=%2F\"",
            form: "f",
            identifier: "\"><script>",
            problem: Some("Wrong user name or password."),
            recovery: None,
            passkey: None,
            passkey_problem: None,
        };
        let html = page.render().expect("renders");
        assert!(!html.contains("<script>") && !html.contains("<Wiki>") && !html.contains("%2F\""));
        assert!(html.contains("aria-describedby=\"problem\"") && html.contains("role=\"alert\""));
        assert!(!html.contains("type=\"password\" value"));
    }
}
