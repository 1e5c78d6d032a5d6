//! Who may use an application (CO-132): bindings of the store, put to the policy engine.

use std::collections::{HashMap, HashSet};

use portcullis_core::id::GroupId;
use portcullis_core::policy::{self, Bound, Finding, Mode};
use portcullis_store::application::Application;
use portcullis_store::binding::Binding;
use portcullis_store::{Conn, binding};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::context::Context;
use crate::directory::Person;
use crate::error::Error;
use crate::settings::Settings;

pub use portcullis_core::policy::Decision;

/// What is known of the request besides the user (CO-181): `oauth_scopes`, `oauth_grant_type` and the like.
/// Policies read it; users and groups decide without it.
#[derive(Clone, Debug, Default)]
pub struct AccessContext {
    /// What policies find in `context`.
    pub entries: Map<String, Value>,
}

/// Decides whether somebody may use an application. Never from a cache, and without favour for
/// superusers (CO-132, CO-136). Someone deactivated may use nothing.
///
/// # Errors
/// When the store fails; treat that as no.
pub async fn decide(
    _ctx: &Context,
    conn: &mut Conn,
    person: &Person,
    application: &Application,
    _context: &AccessContext,
) -> Result<Decision, Error> {
    let bindings = binding::enabled_of(conn, application.uuid.0).await?;
    // Only an application without bindings asks for the setting.
    let empty = bindings.is_empty() && open_by_default(conn).await?;
    Ok(Rules { groups: groups_of(person), person, empty }.decide(application, &bindings))
}

/// Those of `applications` that somebody may use, with two queries however many there are (CO-137, CO-175).
///
/// # Errors
/// When the store fails; treat that as none.
pub async fn visible(
    conn: &mut Conn,
    person: &Person,
    applications: Vec<Application>,
) -> Result<Vec<Application>, Error> {
    let mut bindings: HashMap<Uuid, Vec<Binding>> = HashMap::new();
    for binding in binding::all_enabled(conn).await? {
        bindings.entry(binding.target).or_default().push(binding);
    }
    let rules = Rules { groups: groups_of(person), person, empty: open_by_default(conn).await? };
    let may = |application: &Application| {
        rules.decide(application, bindings.get(&application.uuid.0).map_or(&[], Vec::as_slice)).passing
    };
    Ok(applications.into_iter().filter(may).collect())
}

/// Whether applications without bindings are open to everybody who is signed in (CO-134).
///
/// # Errors
/// When the store fails.
pub async fn open_by_default(conn: &mut Conn) -> Result<bool, Error> {
    Ok(Settings::load(conn).await?.open_by_default)
}

fn groups_of(person: &Person) -> HashSet<GroupId> {
    person.teams.iter().map(|team| team.pk).collect()
}

struct Rules<'a> {
    person: &'a Person,
    groups: HashSet<GroupId>,
    empty: bool,
}

impl Rules<'_> {
    fn decide(&self, application: &Application, bindings: &[Binding]) -> Decision {
        if !self.person.account.is_active {
            return Decision::default();
        }
        // An engine mode that cannot be read counts as the stricter one.
        let mode = Mode::parse(&application.policy_engine_mode).unwrap_or(Mode::All);
        policy::decide(bindings.iter().map(|binding| self.bound(binding)), mode, self.empty)
    }

    fn bound(&self, binding: &Binding) -> Bound {
        let finding = match (binding.policy, binding.team, binding.account) {
            (None, Some(group), None) => Finding::Member(self.groups.contains(&group)),
            (None, None, Some(user)) => Finding::Member(user == self.person.account.pk),
            // A policy is none of the kinds that exist; it denies as one that was deleted does.
            _ => Finding::Orphan,
        };
        Bound {
            binding: binding.pk,
            order: binding.position,
            enabled: binding.enabled,
            negate: binding.negate,
            failure_result: binding.failure_result,
            finding,
        }
    }
}
