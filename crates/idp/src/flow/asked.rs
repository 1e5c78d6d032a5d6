//! What the present step asks.

use portcullis_core::totp;

use super::challenge::{Challenge, Device, Field, Identification, Prompted, Setup, Shown};
use super::run::{Step, bytes, written};
use super::{Desk, enrol, param, prompts, second_factor, stages};
use crate::error::Error;
use crate::{authenticators, portal, recovery};

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
            },
            Step::SecondFactor => {
                let devices = second_factor::devices(self).await?.into_iter();
                let devices =
                    devices.map(|found| Device { class: found.class, pk: found.pk, last_used: found.last_used });
                Challenge::SecondFactor { user, devices: devices.collect(), setups: Vec::new() }
            }
            Step::ChooseSetup => Challenge::SecondFactor { user, devices: Vec::new(), setups: self.setups() },
            Step::EnrolTotp => {
                if self.run.seed.is_none() {
                    self.run.seed = Some(written(&self.ctx.entropy.bytes::<{ totp::SEED_BYTES }>()));
                }
                let seed = bytes(self.run.seed.as_deref().unwrap_or_default());
                Challenge::Totp { url: totp::url(enrol::ISSUER, &user.username, &seed, enrol::DIGITS), user }
            }
            Step::EnrolStatic => {
                if self.run.codes.is_empty() {
                    self.run.codes = authenticators::draw_codes(self.ctx);
                }
                Challenge::Static { user, codes: self.run.codes.clone() }
            }
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
                Challenge::Prompt { about: Prompted::NewPassword, fields: prompts::PASSWORDS.to_vec() }
            }
            Step::Settings => Challenge::Prompt { about: Prompted::Settings, fields: prompts::own_fields(self).await? },
            Step::FirstAdministrator => Challenge::Prompt {
                about: Prompted::FirstAdministrator,
                fields: prompts::FIRST.into_iter().chain(prompts::PASSWORDS).collect::<Vec<Field>>(),
            },
            Step::SignOut => Challenge::SessionEnd { user },
            Step::Denied { message, remedy } => Challenge::Denied { user, message, remedy },
            // Nobody is asked anything at these; the browser begins again.
            Step::AfterPassword | Step::AfterSecondFactor | Step::LogIn | Step::Done => {
                return Err(Error::Unreadable("flow_run".to_owned()));
            }
        })
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

    async fn identification(&self) -> Result<Identification, Error> {
        let stage = &self.stages.identification;
        let application = match portal::client_of(&self.run.next) {
            Some(client_id) => portal::name_of_client(self.ctx, &client_id).await?,
            None => None,
        };
        Ok(Identification {
            user_fields: stage.user_fields.clone(),
            password_fields: stage.password_stage.is_some() && self.flow.slug == crate::flows::AUTHENTICATION,
            allow_show_password: self.stages.password.allow_show_password,
            application,
            recovery: self.flow.slug == crate::flows::AUTHENTICATION && self.recovery().await?,
            enable_remember_me: stage.enable_remember_me,
            designation: self.flow.designation.clone(),
        })
    }

    async fn recovery(&self) -> Result<bool, Error> {
        let offered = self.stages.identification.recovery_flow.is_some();
        let host = &self.visit.visitor.request.host;
        Ok(offered || recovery::is_offered(&mut self.ctx.db.read().await?, host).await?)
    }

    fn setups(&self) -> Vec<Setup> {
        let named = self.stages.setups().into_iter();
        let found = named.filter_map(|name| self.stages.all().iter().find(|stage| stage.name == name));
        found
            .map(|stage| Setup {
                pk: stage.pk,
                name: stage.name.clone(),
                title: if stage.name == stages::TOTP_SETUP { "Authenticator app" } else { "Recovery codes" },
                model: stage.model.clone(),
            })
            .collect()
    }

    /// The token of the link that the browser came with.
    pub(super) fn link_token(&self) -> String {
        param(self.visit.query, recovery::PARAMETER).unwrap_or_default()
    }
}
