//! Who may use an application (CO-132) or run a flow (CO-307): bindings of the store, put to the policy engine.
//!
//! Policies take their time, so they are asked without a database connection: [`judge`] before a transaction, and
//! [`confirm`] in it, which looks at everything else once more.

mod explain;
pub mod flows;
mod record;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::id::{BindingId, GroupId, PolicyId};
use portcullis_core::policy::{self, Bound, Finding, Mode};
use portcullis_store::application::Application;
use portcullis_store::binding::Binding;
use portcullis_store::policy::Policy;
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, binding, policy as policies_of, provider};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::context::{Context, Request, Visitor};
use crate::directory::Person;
use crate::error::Error;
use crate::event;
use crate::policies::{self, Failure, FlowFacts, HttpFacts, Outcome, PolicyRequest, run};
use crate::settings::Settings;

pub use explain::{explain, trace};
pub use portcullis_core::policy::Decision;

/// What is known of the request besides the user (CO-181). Policies read it; users and groups decide without it.
#[derive(Clone, Debug, Default)]
pub struct AccessContext {
    /// What policies find in `context` after `geoip` and `asn`: `oauth_scopes`, `oauth_grant_type` and the like.
    pub entries: Map<String, Value>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// What the flow that is asked for has gathered.
    pub flow: Option<FlowFacts>,
    /// The HTTP request.
    pub http: Option<Arc<HttpFacts>>,
    /// Who sends it, where that is not the user: who tries out what would become of them.
    pub sender: Option<Arc<Person>>,
    /// Whether the sender gets to read what policies say: messages and lines.
    pub explained: bool,
    /// The request, for events.
    pub request: Request,
}

impl AccessContext {
    /// A request without further entries.
    pub fn of(visitor: &Visitor) -> Self {
        Self::default().from(visitor)
    }

    /// The same, from this visitor.
    pub fn from(self, visitor: &Visitor) -> Self {
        let Visitor { client, request, http, sender, explained } = visitor.clone();
        Self { client: Some(client), request, http, sender, explained, ..self }
    }
}

/// A decision, and what it was made of: policies are not asked twice about one request (CO-177).
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The decision.
    pub decision: Decision,
    bindings: Vec<Binding>,
    found: Vec<Found>,
}

/// What a policy said for a binding.
#[derive(Clone, Debug)]
struct Found {
    binding: BindingId,
    failure_result: bool,
    policy: PolicyId,
    name: String,
    execution_logging: bool,
    answer: Result<Outcome, Failure>,
}

impl Found {
    fn finding(&self) -> Finding {
        match &self.answer {
            Ok(outcome) => Finding::Policy { passing: outcome.passing, messages: outcome.messages.clone() },
            // Who is refused reads it: the lines of the expression are for who wrote it.
            Err(failure) => Finding::Failed { message: event::in_one_line(&failure.message).to_owned() },
        }
    }
}

/// Decides whether somebody may use an application. Never from a cache, and without favour for superusers (CO-132,
/// CO-136). Someone deactivated may use nothing. What policies want recorded is recorded.
///
/// No connection may be held meanwhile: policies may take their time.
///
/// # Errors
/// When the store fails; treat that as no.
pub async fn judge(
    ctx: &Context,
    person: &Person,
    application: &Application,
    context: &AccessContext,
) -> Result<Judged, Error> {
    judge_after(ctx, ctx.db.read().await?, person, application, context).await
}

/// The same, with a connection that was needed before and is given back here: whoever asks at every request need not wait
/// for another one.
///
/// # Errors
/// When the store fails; treat that as no.
pub async fn judge_after(
    ctx: &Context,
    mut conn: Conn,
    person: &Person,
    application: &Application,
    context: &AccessContext,
) -> Result<Judged, Error> {
    let terms = Terms::of(&mut conn, application).await?;
    drop(conn);
    judge_by(ctx, &terms, person, application, context).await
}

/// Decides by terms that were read before.
///
/// # Errors
/// When what policies want recorded cannot be; treat that as no.
pub async fn judge_by(
    ctx: &Context,
    terms: &Terms,
    person: &Person,
    application: &Application,
    context: &AccessContext,
) -> Result<Judged, Error> {
    let case = Case::new(terms, person, application).heard(ctx, context).await;
    record::alone(ctx, &case, context).await?;
    Ok(case.judged())
}

/// Decides once more, in the transaction that something is issued in: users, groups and bindings are looked at again,
/// of policies it is known what they said. A policy that was bound meanwhile denies.
///
/// # Errors
/// When the store fails; treat that as no.
pub async fn confirm(
    conn: &mut Conn,
    person: &Person,
    application: &Application,
    judged: &Judged,
) -> Result<Decision, Error> {
    let terms = Terms::of(conn, application).await?;
    Ok(Case { found: judged.found.clone(), ..Case::new(&terms, person, application) }.judged().decision)
}

/// Those of `applications` that somebody may use, with few queries however many there are (CO-137, CO-175).
///
/// # Errors
/// When the store fails; treat that as none.
pub async fn visible(
    ctx: &Context,
    person: &Person,
    applications: Vec<Application>,
    context: &AccessContext,
) -> Result<Vec<Application>, Error> {
    let mut conn = ctx.db.read().await?;
    let mut bindings: HashMap<Uuid, Vec<Binding>> = HashMap::new();
    for binding in binding::all_enabled(&mut conn).await? {
        bindings.entry(binding.target).or_default().push(binding);
    }
    let policies = Arc::new(by_key(policies_of::bound(&mut conn).await?));
    // Only policies ask for the provider.
    let by_policy = |application: &&Application| {
        bindings.get(&application.uuid.0).is_some_and(|all| all.iter().any(|binding| binding.policy.is_some()))
    };
    let keys: Vec<_> = applications.iter().filter(by_policy).filter_map(|application| application.provider).collect();
    let providers = provider::by_pks(&mut conn, &keys).await?;
    let providers: HashMap<_, _> = providers.into_iter().map(|found| (found.pk, Arc::new(found))).collect();
    let empty = open_by_default(&mut conn).await?;
    drop(conn);
    let terms: Vec<Terms> = applications
        .iter()
        .map(|application| Terms {
            provider: application.provider.and_then(|pk| providers.get(&pk).cloned()),
            bindings: bindings.remove(&application.uuid.0).unwrap_or_default(),
            policies: Arc::clone(&policies),
            empty,
        })
        .collect();
    let cases = applications.iter().zip(&terms).map(|(application, terms)| Case::new(terms, person, application));
    let mut usable = HashSet::new();
    let cases = futures_util::future::join_all(cases.map(|case| case.heard(ctx, context))).await;
    for (application, case) in applications.iter().zip(cases) {
        record::alone(ctx, &case, context).await?;
        if case.judged().decision.passing {
            usable.insert(application.uuid);
        }
    }
    Ok(applications.into_iter().filter(|application| usable.contains(&application.uuid)).collect())
}

/// Whether applications without bindings are open to everybody who is signed in (CO-134).
///
/// # Errors
/// When the store fails.
pub async fn open_by_default(conn: &mut Conn) -> Result<bool, Error> {
    Ok(Settings::load(conn).await?.open_by_default)
}

/// Whether a binding of a user or a group names this person (CO-172), before it is inverted. None for any other one.
pub(crate) fn holds_membership(person: &Person, groups: &HashSet<GroupId>, binding: &Binding) -> Option<bool> {
    match (binding.policy, binding.team, binding.account) {
        (None, Some(group), None) => Some(groups.contains(&group)),
        (None, None, Some(user)) => Some(user == person.account.pk),
        _ => None,
    }
}

fn by_key(policies: Vec<Policy>) -> HashMap<PolicyId, Policy> {
    policies.into_iter().map(|policy| (policy.pk, policy)).collect()
}

/// What decides who may use an application or run a flow: bindings and the policies they name, before anybody is looked
/// at. It knows nothing of who belongs where, nor of what a policy says.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Bindings that count, in the order of evaluation.
    bindings: Vec<Binding>,
    policies: Arc<HashMap<PolicyId, Policy>>,
    /// The application's provider, if there are policies.
    provider: Option<Arc<Provider>>,
    /// What holds when there are no bindings (CO-134).
    empty: bool,
}

impl Terms {
    /// Whether policies are among them, which are told of the request.
    pub fn name_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// The terms at present.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(conn: &mut Conn, application: &Application) -> Result<Self, Error> {
        let bindings = binding::enabled_of(conn, application.uuid.0).await?;
        // Only an application without bindings asks for the setting, and only policies for the rest.
        let empty = bindings.is_empty() && open_by_default(conn).await?;
        let mut terms = Self { bindings, empty, ..Self::default() };
        if terms.bindings.iter().any(|binding| binding.policy.is_some()) {
            terms.policies = Arc::new(by_key(policies_of::bound_to(conn, application.uuid.0).await?));
            if let Some(pk) = application.provider {
                terms.provider = provider::by_pk(conn, pk).await?.map(Arc::new);
            }
        }
        Ok(terms)
    }
}

/// Somebody, an application or a flow, and what is found out about the two.
struct Case<'a> {
    terms: &'a Terms,
    /// Nobody is known where people are still on their way in.
    person: Option<&'a Person>,
    /// None for a flow.
    application: Option<&'a Application>,
    mode: Mode,
    found: Vec<Found>,
}

impl<'a> Case<'a> {
    fn new(terms: &'a Terms, person: &'a Person, application: &'a Application) -> Self {
        // An engine mode that cannot be read counts as the stricter one.
        let mode = Mode::parse(&application.policy_engine_mode).unwrap_or(Mode::All);
        Self { terms, person: Some(person), application: Some(application), mode, found: Vec::new() }
    }

    fn is_deactivated(&self) -> bool {
        self.person.is_some_and(|person| !person.account.is_active)
    }

    /// Asks every policy (CO-175). About somebody deactivated none needs to be asked.
    async fn heard(mut self, ctx: &Context, context: &AccessContext) -> Self {
        let Terms { bindings, policies, .. } = self.terms;
        let named: Vec<_> =
            bindings.iter().filter_map(|binding| Some((binding, policies.get(&binding.policy?)?))).collect();
        if named.is_empty() || self.is_deactivated() {
            return self;
        }
        let request = PolicyRequest {
            person: self.person.cloned().map(Arc::new),
            application: self.application.cloned().map(Arc::new),
            provider: self.terms.provider.clone(),
            client: context.client,
            flow: context.flow.clone(),
            http: context.http.clone(),
            sender: context.sender.clone(),
            explained: context.explained,
            request: context.request.clone(),
            context: policies::context(ctx, context.client, &context.entries),
            debug: false,
            callers: Vec::new(),
        };
        let tasks = named.iter().map(|(binding, policy)| {
            let request = Arc::new(PolicyRequest { callers: vec![policy.pk], ..request.clone() });
            run::Task { timeout: binding.timeout, evaluation: policies::evaluate(ctx, policy, request) }
        });
        let answers = run::all(tasks.collect()).await;
        let found = named.iter().zip(answers).map(|((binding, policy), answer)| Found {
            binding: binding.pk,
            failure_result: binding.failure_result,
            policy: policy.pk,
            name: policy.name.clone(),
            execution_logging: policy.execution_logging,
            answer,
        });
        self.found = found.collect();
        self
    }

    fn judged(self) -> Judged {
        let decision = self.decision();
        Judged { decision, bindings: self.terms.bindings.clone(), found: self.found }
    }

    fn decision(&self) -> Decision {
        if self.is_deactivated() {
            return Decision::default();
        }
        let groups = self.person.iter().flat_map(|person| person.teams.iter()).map(|team| team.pk).collect();
        let bounds = self.terms.bindings.iter().map(|binding| self.bound(&groups, binding));
        policy::decide(bounds, self.mode, self.terms.empty)
    }

    fn bound(&self, groups: &HashSet<GroupId>, binding: &Binding) -> Bound {
        let finding = match (binding.policy, self.person) {
            (Some(policy), _) => {
                let found = self.found.iter().find(|found| found.binding == binding.pk && found.policy == policy);
                // Nobody asked a policy that was bound just now.
                found.map_or(Finding::Orphan, Found::finding)
            }
            (None, Some(person)) => holds_membership(person, groups, binding).map_or(Finding::Orphan, Finding::Member),
            (None, None) if binding.team.is_some() || binding.account.is_some() => Finding::Anonymous,
            (None, None) => Finding::Orphan,
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
