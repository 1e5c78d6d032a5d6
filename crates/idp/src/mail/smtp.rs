//! Mail by SMTP.

use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use portcullis_core::clock::Clock;
use portcullis_core::entropy::Entropy;

use super::{Address, Letter, Post};
use crate::policies::Answer;

/// How a connection to a mail server is kept from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all: for a server on this machine.
    None,
    /// By `STARTTLS`, without which nothing is sent.
    StartTls,
    /// From its beginning.
    Tls,
}

/// A mail server.
pub struct Server {
    /// Its name, which its certificate must have.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// User name and password, if it asks for any.
    pub credentials: Option<(String, String)>,
    /// Longest time for one mail, in whole.
    pub timeout: Duration,
}

/// Mail by a server. Each mail has a connection of its own.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
    timeout: Duration,
}

impl Smtp {
    /// Mail by a server, from this address. Nothing is connected yet.
    ///
    /// # Errors
    /// In words for the operator, when TLS cannot be used.
    pub fn new(server: Server, from: Address) -> Result<Self, String> {
        let tls = || TlsParameters::new(server.host.clone()).map_err(|error| error.to_string());
        let tls = match server.security {
            Security::None => Tls::None,
            Security::StartTls => Tls::Required(tls()?),
            Security::Tls => Tls::Wrapper(tls()?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .timeout(Some(server.timeout))
            .tls(tls);
        if let Some((username, password)) = server.credentials {
            transport = transport.credentials(Credentials::new(username, password));
        }
        Ok(Self { transport: transport.build(), from, timeout: server.timeout })
    }

    async fn send(&self, to: &Address, message: &[u8]) -> Result<(), String> {
        let envelope = Envelope::new(Some(self.from.0.email.clone()), vec![to.0.email.clone()]);
        let envelope = envelope.map_err(|error| error.to_string())?;
        self.transport.send_raw(&envelope, message).await.map(drop).map_err(|error| {
            // What the server said, cut short: it may say much.
            let (told, cause) = (error.to_string(), std::error::Error::source(&error).map(ToString::to_string));
            with_cause(told, cause).chars().filter(|c| !c.is_control()).take(300).collect()
        })
    }
}

/// An error with its cause, unless it tells that already.
fn with_cause(told: String, cause: Option<String>) -> String {
    match cause {
        Some(cause) if !told.contains(&cause) => format!("{told}: {cause}"),
        _ => told,
    }
}

impl Post for Smtp {
    fn deliver<'a>(&'a self, to: &'a Address, message: Vec<u8>) -> Answer<'a, (), String> {
        Box::pin(async move {
            match tokio::time::timeout(self.timeout, self.send(to, &message)).await {
                Ok(sent) => sent,
                Err(_) => Err(format!("the mail server took longer than {} seconds", self.timeout.as_secs())),
            }
        })
    }
}

/// Sends a mail that only shows that mail works.
///
/// # Errors
/// In words for the operator.
pub async fn test(smtp: &Smtp, clock: &dyn Clock, entropy: &dyn Entropy, to: Address) -> Result<(), String> {
    let letter = Letter {
        to,
        about: "test",
        user: serde_json::Value::Null,
        subject: "Mail of Portcullis works".to_owned(),
        before: vec!["This mail was sent by portcullis test-email: mail is set up as it should be.".to_owned()],
        link: None,
        after: Vec::new(),
    };
    let message = letter.written(&smtp.from, clock.now(), &entropy.alphanumeric(32))?;
    smtp.deliver(&letter.to, message).await
}

#[cfg(test)]
mod tests {
    use super::with_cause;

    /// CO-327: why a mail was not sent is told once.
    #[test]
    fn co_327_a_cause_is_told_once() {
        let dns = || Some("failed to lookup address".to_owned());
        assert_eq!(with_cause("Connection error".to_owned(), dns()), "Connection error: failed to lookup address");
        let told = "Connection error: failed to lookup address: x".to_owned();
        assert_eq!(with_cause(told.clone(), dns()), told);
        assert_eq!(with_cause("closed".to_owned(), None), "closed");
    }
}
