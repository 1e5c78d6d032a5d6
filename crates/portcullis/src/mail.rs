//! Mail as the settings describe it.

use std::io::Write;
use std::sync::Arc;

use portcullis_core::entropy::SystemEntropy;
use portcullis_idp::mail::{self, Address, Mail, Security, Sender, Server, Smtp};

use crate::edge::SystemClock;
use crate::settings::{Secret, Settings};
use crate::{Failure, serve};

/// The server and the address that mail comes from, if mail is set up.
///
/// # Errors
/// One line that names the setting.
fn server(settings: &Settings) -> Result<Option<(Smtp, Address)>, Failure> {
    let email = &settings.email;
    let Some(host) = email.host.clone() else { return Ok(None) };
    let from = Address::parse(&email.from).map_err(|error| format!("email.from: {error}"))?;
    let security = match (email.use_tls, email.use_ssl) {
        (true, true) => return Err("email.use_tls and email.use_ssl: choose one of the two".into()),
        (true, false) => Security::StartTls,
        (false, true) => Security::Tls,
        (false, false) => Security::None,
    };
    let credentials = match (&email.username, email.password.as_ref().map(Secret::expose)) {
        (Some(username), Some(password)) => Some((username.clone(), password.to_owned())),
        (None, None) => None,
        _ => return Err("email.username and email.password: give both or none".into()),
    };
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if security == Security::None && !local {
        tracing::warn!("mail is sent unencrypted: set email.use_tls or email.use_ssl");
    }
    let server = Server { host, port: email.port, security, credentials, timeout: email.timeout.0 };
    let smtp = Smtp::new(server, from.clone()).map_err(|error| format!("email: {error}"))?;
    Ok(Some((smtp, from)))
}

/// Mail of an instance.
///
/// # Errors
/// As [`server`].
pub(crate) fn of(settings: &Settings) -> Result<Mail, Failure> {
    let Some((smtp, from)) = server(settings)? else { return Ok(Mail::default()) };
    Ok(Mail::by(Sender {
        post: Arc::new(smtp),
        from,
        site: settings.own_base_url().map(|url| url.as_str().to_owned()),
        patience: settings.email.timeout.0,
    }))
}

/// Sends a mail to an address, to see whether that works.
///
/// # Errors
/// One line that says why not.
pub(crate) fn test(settings: &Settings, address: &str) -> Result<(), Failure> {
    let to = Address::parse(address).map_err(|error| format!("{address}: {error}"))?;
    serve::runtime()?.block_on(async {
        let (smtp, from) = server(settings)?.ok_or("email.host is not set: no mail is sent")?;
        let server = settings.email.host.as_deref().unwrap_or_default();
        let done = mail::test(&smtp, &SystemClock, &SystemEntropy, to).await;
        done.map_err(|error| format!("{server}, port {}: {error}", settings.email.port))?;
        Ok(writeln!(std::io::stdout(), "{server} took a mail from {from} to {address}")?)
    })
}
