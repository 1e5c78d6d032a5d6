//! What the present step asks.

use portcullis_core::totp;
use portcullis_store::authenticator::Authenticator;
use serde_json::Value;

use super::challenge::{Challenge, Device, Field, Identification, Prompted, Setup, Shown};
use super::run::{Step, bytes, written};
use super::{Desk, enrol, passkey, prompts, second_factor, stages};
use crate::authenticators::WEBAUTHN;
use crate::error::Error;
use crate::{authenticators, bootstrap, brands, passkeys, portal, recovery};

impl Desk<'_> {
    /// What the browser is asked. What is drawn for it, a seed or a token, becomes part of the run.
    pub(super) async fn challenge(&mut self) -> Result<Challenge, Error> {
        let user = self.shown().await?;
        Ok(match self.run.step.clone() {
            Step::Identification => Challenge::Identification(self.identification().await?),
            Step::Password => Challenge::Password {
                user,
                recovery: self.recovery().await?,
                allow_show_password: self.stages.password.allow_show_password,
                passkey: passkey::ask(self),
            },
            Step::SecondFactor => {
                let devices = self.second_factors().await?;
                Challenge::SecondFactor { user, devices, setups: Vec::new() }
            }
            Step::ChooseSetup => Challenge::SecondFactor { user, devices: Vec::new(), setups: self.setups() },
            Step::EnrolTotp => {
                if self.run.seed.is_none() {
                    self.run.seed = Some(written(&self.ctx.entropy.bytes::<{ totp::SEED_BYTES }>()));
                }
                let seed = bytes(self.run.seed.as_deref().unwrap_or_default());
                let issuer = self.site().await?;
                Challenge::Totp { url: totp::url(&issuer, &user.username, &seed, enrol::DIGITS), user }
            }
            Step::EnrolStatic => {
                if self.run.codes.is_empty() {
                    self.run.codes = authenticators::draw_codes(self.ctx);
                }
                Challenge::Static { user, codes: self.run.codes.clone() }
            }
            Step::EnrolWebAuthn => Challenge::WebAuthn { user, registration: self.registration().await? },
            Step::RememberMe => Challenge::RememberMe { user },
            Step::EmailSent => Challenge::Email,
            Step::Confirm => {
                let token = self.run.token.get_or_insert_with(|| self.ctx.entropy.token()).clone();
                Challenge::Consent {
                    user,
                    header: "Continue to choose a new password.".to_owned(),
                    permissions: Vec::new(),
                    additional: Vec::new(),
                    token,
                }
            }
            Step::NewPassword => {
                let account = self.account(&mut self.ctx.db.read().await?).await?;
                let username = account.map(|account| account.username);
                Challenge::Prompt { about: Prompted::NewPassword, fields: prompts::PASSWORDS.to_vec(), username }
            }
            Step::Settings => {
                let fields = prompts::own_fields(self).await?;
                Challenge::Prompt { about: Prompted::Settings, fields, username: None }
            }
            Step::FirstAdministrator => Challenge::Prompt {
                about: Prompted::FirstAdministrator,
                fields: prompts::FIRST.into_iter().chain(prompts::PASSWORDS).collect::<Vec<Field>>(),
                username: Some(bootstrap::ADMINISTRATOR.to_owned()),
            },
            Step::SignOut => Challenge::SessionEnd { user, site: self.site().await? },
            Step::TellClients => Challenge::TellClients { frames: self.run.frames.clone() },
            Step::Denied { message, remedy } => Challenge::Denied { user, message, remedy },
            // Nobody is asked anything at these; the browser begins again.
            Step::AfterPassword | Step::AfterSecondFactor | Step::LogIn | Step::Done => {
                return Err(Error::Unreadable("flow_run".to_owned()));
            }
        })
    }

    /// What the instance calls itself, to authenticator apps too.
    async fn site(&self) -> Result<String, Error> {
        let host = &self.visit.visitor.request.host;
        let title = brands::of_host(&mut self.ctx.db.read().await?, host).await?.title;
        Ok(if title.is_empty() { brands::TITLE.to_owned() } else { title })
    }

    /// Whom the step is about: nobody learns more about strangers than they typed (CO-311).
    async fn shown(&self) -> Result<Shown, Error> {
        let typed = self.run.identifier.clone();
        let known = if self.stages.identification.show_matched_user {
            self.account(&mut self.ctx.db.read().await?).await?.map(|account| account.username)
        } else {
            None
        };
        Ok(Shown { username: known.unwrap_or(typed) })
    }

    /// The second factors that would do. Security keys are one: whichever is at hand answers.
    async fn second_factors(&mut self) -> Result<Vec<Device>, Error> {
        let found = second_factor::devices(self).await?;
        let (keys, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|device| device.class == WEBAUTHN);
        let device = |found: Authenticator, challenge| Device {
            class: found.class,
            pk: found.pk,
            last_used: found.last_used,
            challenge,
        };
        let mut devices: Vec<_> = others.into_iter().map(|found| device(found, None)).collect();
        let Some(latest) = keys.into_iter().max_by_key(|key| key.last_used) else { return Ok(devices) };
        let Some(account) = self.account(&mut self.ctx.db.read().await?).await? else { return Ok(devices) };
        // A site that is no name asks no key; that somebody has one still counts.
        let options = if let Some(rp) = passkeys::relying_party(self.ctx) {
            let allowed = passkeys::of_account(&mut self.ctx.db.read().await?, &account).await?;
            let challenge = self.drawn();
            let verification = &self.stages.validation.webauthn_user_verification;
            Some(passkeys::request_options(&rp, &challenge, &allowed, verification))
        } else {
            None
        };
        devices.insert(0, device(latest, options));
        Ok(devices)
    }

    /// The challenge of this step: the same until it is answered.
    fn drawn(&mut self) -> String {
        let ctx = self.ctx;
        self.run.challenge.get_or_insert_with(|| passkeys::draw_challenge(ctx)).clone()
    }

    async fn registration(&mut self) -> Result<Value, Error> {
        let mut conn = self.ctx.db.read().await?;
        let (Some(rp), Some(account)) = (passkeys::relying_party(self.ctx), self.account(&mut conn).await?) else {
            return Ok(Value::Null);
        };
        let known = passkeys::of_account(&mut conn, &account).await?;
        drop(conn);
        let challenge = self.drawn();
        Ok(passkeys::creation_options(&rp, &account, &challenge, &known))
    }

    async fn identification(&mut self) -> Result<Identification, Error> {
        let passkey = passkey::ask(self);
        let stage = &self.stages.identification;
        let application = match portal::client_of(&self.run.next) {
            Some(client_id) => portal::name_of_client(self.ctx, &client_id).await?,
            None => None,
        };
        Ok(Identification {
            user_fields: stage.user_fields.clone(),
            password_fields: stage.password_stage.is_some() && self.flow.slug == crate::flows::AUTHENTICATION,
            allow_show_password: self.stages.password.allow_show_password,
            identifier: Some(self.run.identifier.clone()).filter(|identifier| !identifier.is_empty()),
            application,
            recovery: self.flow.slug == crate::flows::AUTHENTICATION && self.recovery().await?,
            enable_remember_me: stage.enable_remember_me,
            designation: self.flow.designation.clone(),
            passkey,
        })
    }

    async fn recovery(&self) -> Result<bool, Error> {
        let offered = self.stages.identification.recovery_flow.is_some();
        let host = &self.visit.visitor.request.host;
        Ok(offered || recovery::is_offered(&mut self.ctx.db.read().await?, host).await?)
    }

    fn setups(&self) -> Vec<Setup> {
        let named = second_factor::setups(self).into_iter();
        let found = named.filter_map(|name| self.stages.all().iter().find(|stage| stage.name == name));
        found
            .map(|stage| Setup {
                pk: stage.pk,
                name: stage.name.clone(),
                title: match stage.name.as_str() {
                    stages::TOTP_SETUP => "Authenticator app",
                    stages::WEBAUTHN_SETUP => "Passkey or security key",
                    _ => "Recovery codes",
                },
                model: stage.model.clone(),
            })
            .collect()
    }
}
