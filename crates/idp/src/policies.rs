//! Policies: made, changed, deleted, tried out, evaluated (CO sections 8 and 9).

mod evaluate;
mod kind;
mod known;
mod password;
mod request;
pub(crate) mod run;
mod shape;
mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use portcullis_core::id::{PolicyId, UserPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::policy::{self, Policy};
use portcullis_store::{Conn, binding};
use serde_json::{Map, Value, json};

use crate::bindings;
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::directory;
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::expressions;
use crate::list::{Listed, Slice, Visible};
use crate::mappings;
use crate::used_by::{self, Use};

use evaluate::DEEPEST;
pub use evaluate::{call, evaluate};
pub use kind::{Descriptor, Dummy, EventMatcher, Expression, Kind, Password, PasswordExpiry, PolicyKind, Reputation};
pub(crate) use password::judge;
pub use portcullis_store::policy::{Filter, Order};
pub(crate) use request::context;
pub use request::{Failure, FlowFacts, HttpFacts, LogLine, Noted, Outcome, PolicyRequest, summary};
pub use shape::{Field, Shape};
pub use support::{Answer, BreachService, Calls, ExpressionEngine, Support};

/// What a writer is told of a policy that decides about what is not theirs to open.
const BOUND: &str = "The policy is bound to what you may not change: make another one for your own bindings.";

/// What a writer is told of a policy, or of a name of one, that those ask for that decide about what is not theirs to open.
const CALLED: &str = "An expression of what you may not change calls a policy of this name: leave that one as it is, and choose \
     another name for yours.";

/// The same of those that make up for whom they ask.
const CALLED_BY_WHATEVER_NAME: &str = "An expression of what you may not change calls policies by names that it makes up, and may call \
     this one: have a superuser do this.";

/// What is to be stored of a policy; absent members stay as they are, or have their default on creation.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// `name`.
    pub name: Option<String>,
    /// `execution_logging`.
    pub execution_logging: Option<bool>,
    /// The fields of the kind, by name, each of its [`Shape`].
    pub own: Map<String, Value>,
}

/// A policy as it is shown.
#[derive(Clone, Debug)]
pub struct View {
    /// Key.
    pub pk: PolicyId,
    /// Name.
    pub name: String,
    /// Whether every evaluation is recorded.
    pub execution_logging: bool,
    /// Its kind, with the kind's fields.
    pub kind: PolicyKind,
    /// How many bindings name it.
    pub bound_to: i64,
}

impl View {
    fn of(policy: Policy, bound_to: i64) -> Result<Self, Error> {
        let kind = PolicyKind::read(&policy.kind, &policy.settings)?;
        Ok(Self { pk: policy.pk, name: policy.name, execution_logging: policy.execution_logging, kind, bound_to })
    }
}

/// The policies that meet conditions. `own` are conditions on fields of the kind.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission; or when the store fails.
pub async fn list(
    ctx: &Context,
    actor: &Actor,
    filter: &Filter,
    own: &[(&str, Value)],
    slice: Slice,
) -> Result<Listed<View>, Error> {
    let visible = actor.sees(model_of(filter.kind.as_deref().and_then(Kind::parse)))?;
    let mut conn = ctx.db.read().await?;
    let counts: HashMap<_, _> = binding::counts(&mut conn).await?.into_iter().collect();
    let mut views = Vec::new();
    for policy in policy::list(&mut conn, filter, visible).await? {
        let bound_to = counts.get(&policy.pk).copied().unwrap_or_default();
        let view = View::of(policy, bound_to)?;
        let settings = view.kind.settings();
        if own.iter().all(|(field, value)| settings.get(*field) == Some(value)) {
            views.push(view);
        }
    }
    let count = i64::try_from(views.len()).unwrap_or(i64::MAX);
    let skipped = usize::try_from(slice.offset).unwrap_or(usize::MAX);
    let taken = usize::try_from(slice.limit).unwrap_or(usize::MAX);
    Ok(Listed { rows: views.into_iter().skip(skipped).take(taken).collect(), count })
}

/// The policy with this key, of this kind or of any.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`]; or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, kind: Option<Kind>, pk: PolicyId) -> Result<View, Error> {
    actor.need_on(Verb::View, model_of(kind), &pk)?;
    let mut conn = ctx.db.read().await?;
    let found = stored(&mut conn, kind, pk).await?;
    view(&mut conn, found).await
}

/// The policies of a kind that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>, kind: Kind, filter: &Filter) -> Result<Vec<View>, Error> {
    let filter = Filter { kind: Some(kind.name().to_owned()), ..filter.clone() };
    let mut views = Vec::new();
    for policy in policy::list(change.conn(), &filter, Visible::All).await? {
        views.push(view(change.conn(), policy).await?);
    }
    Ok(views)
}

/// The policy as it is shown.
pub(crate) async fn view(conn: &mut Conn, policy: Policy) -> Result<View, Error> {
    let bound = binding::count_of_policy(conn, policy.pk).await?;
    View::of(policy, bound)
}

async fn stored(conn: &mut Conn, kind: Option<Kind>, pk: PolicyId) -> Result<Policy, Error> {
    let missing = Error::NotFound(name_of(kind));
    let found = policy::by_pk(conn, pk).await?;
    found.filter(|policy| kind.is_none_or(|kind| policy.kind == kind.name())).ok_or(missing)
}

/// Policies of a kind, or of any, as permissions name them.
pub const fn model_of(kind: Option<Kind>) -> Model {
    match kind {
        None => Model::POLICY,
        Some(Kind::Dummy) => Model::DUMMY_POLICY,
        Some(Kind::EventMatcher) => Model::MATCHER_POLICY,
        Some(Kind::Expression) => Model::EXPRESSION_POLICY,
        Some(Kind::Password) => Model::PASSWORD_POLICY,
        Some(Kind::PasswordExpiry) => Model::EXPIRY_POLICY,
        Some(Kind::Reputation) => Model::REPUTATION_POLICY,
    }
}

/// What errors call policies of a kind, or of any.
pub const fn name_of(kind: Option<Kind>) -> &'static str {
    model_of(kind).kind
}

/// Makes a policy.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, kind: Kind, fields: Fields) -> Result<PolicyId, Error> {
    actor.need(Verb::Add, model_of(Some(kind)))?;
    let mut change = Change::begin(ctx, actor).await?;
    let pk = create_in(ctx, &mut change, kind, fields).await?;
    change.commit().await?;
    Ok(pk)
}

/// Makes a policy as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(ctx: &Context, change: &mut Change<'_>, kind: Kind, fields: Fields) -> Result<PolicyId, Error> {
    let mut problems = Problems::default();
    let absent = kind.fields().iter().filter(|field| field.required && !fields.own.contains_key(field.name));
    let name = fields.name.is_none().then_some("name");
    for field in name.into_iter().chain(absent.map(|field| field.name)) {
        problems.add(field, "This field is required.");
    }
    let made = Policy {
        pk: PolicyId(ctx.entropy.uuid()),
        name: fields.name.unwrap_or_default(),
        kind: kind.name().to_owned(),
        execution_logging: fields.execution_logging.unwrap_or_default(),
        settings: settled(ctx, change.actor(), kind, Map::new(), &fields.own, &mut problems)?,
    };
    check_name(&made.name, &mut problems);
    callers_decide_anew(change, [made.name.clone()], "name", &mut problems).await?;
    problems.check()?;
    policy::insert(change.conn(), &made).await.map_err(taken)?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    Ok(made.pk)
}

/// Changes a policy. What it decides is asked anew at the next request, everywhere (CO-177).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, kind: Kind, pk: PolicyId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, model_of(Some(kind)), &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, kind, pk, fields).await?;
    change.commit().await
}

/// Changes a policy as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, kind: Kind, pk: PolicyId, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    let before = stored(change.conn(), Some(kind), pk).await?;
    let mut problems = Problems::default();
    let known = PolicyKind::read(&before.kind, &before.settings)?.settings();
    let decided = Value::Object(known.clone());
    let after = Policy {
        pk,
        name: fields.name.unwrap_or_else(|| before.name.clone()),
        kind: before.kind.clone(),
        execution_logging: fields.execution_logging.unwrap_or(before.execution_logging),
        settings: settled(ctx, change.actor(), kind, known, &fields.own, &mut problems)?,
    };
    check_name(&after.name, &mut problems);
    let decides_anew = after.settings != decided;
    if decides_anew && !is_about_passwords(kind) && !bindings::may_open_bound(change, pk).await? {
        problems.add("non_field_errors", BOUND);
    }
    if after.name != before.name {
        callers_decide_anew(change, [before.name.clone(), after.name.clone()], "name", &mut problems).await?;
    } else if decides_anew {
        callers_decide_anew(change, [after.name.clone()], "non_field_errors", &mut problems).await?;
    }
    problems.check()?;
    policy::update(change.conn(), &after).await.map_err(taken)?;
    bindings::touch_bound(change, pk).await?;
    let context = json!({"model": named(&after), "diff": diff(&snapshot(&before), &snapshot(&after))});
    change.event("model_updated", context).await
}

/// Deletes a policy, of this kind or of any. Its bindings become orphans, which deny (CO-180); who asks for it by its name fails.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] when somebody asks for it
/// who decides about what is not the actor's to open.
pub async fn delete(ctx: &Context, actor: &Actor, kind: Option<Kind>, pk: PolicyId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, model_of(kind), &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, kind, pk).await?;
    change.commit().await
}

/// Deletes a policy as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, kind: Option<Kind>, pk: PolicyId) -> Result<(), Error> {
    let gone = stored(change.conn(), kind, pk).await?;
    let mut problems = Problems::default();
    callers_decide_anew(change, [gone.name.clone()], "non_field_errors", &mut problems).await?;
    problems.check()?;
    bindings::before_policy_is_deleted(change, pk).await?;
    policy::delete(change.conn(), pk).await?;
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Has everyone looked at again about whom those expressions decide that ask for a policy of these names, in as many steps as
/// they may ask each other (CO-177, CO-242). Refuses it, on `field`, unless the writer may say who gets to all that they are
/// bound to, and change the mappings among them.
async fn callers_decide_anew(
    change: &mut Change<'_>,
    names: impl IntoIterator<Item = String>,
    field: &str,
    problems: &mut Problems,
) -> Result<(), Error> {
    let Some(engine) = &change.context().policies.expressions else { return Ok(()) };
    let filter = Filter { kind: Some(Kind::Expression.name().to_owned()), ..Filter::default() };
    let others = policy::list(change.conn(), &filter, Visible::All).await?.into_iter();
    let mut others: Vec<_> =
        others.filter_map(|other| Some((engine.calls(other.settings.get("expression")?.as_str()?), other))).collect();
    let mut names = HashSet::from_iter(names);
    let mut refusal = None;
    for _ in 0..DEEPEST {
        let callers: Vec<_> = others.extract_if(.., |(calls, _)| calls.meets(&names)).collect();
        for (calls, caller) in callers {
            if refusal.is_none() && !bindings::may_open_bound(change, caller.pk).await? {
                refusal = Some(called_by(&calls));
            }
            bindings::touch_bound(change, caller.pk).await?;
            names.insert(caller.name);
        }
    }
    let of_mappings = mappings::callers_say_anew(change, &names).await?;
    if let Some(refusal) = refusal.or(of_mappings).filter(|_| !problems.has(field)) {
        problems.add(field, refusal);
    }
    Ok(())
}

/// What a writer is told of a policy that somebody asks for who decides about what is not the writer's to open.
pub(crate) const fn called_by(calls: &Calls) -> &'static str {
    match calls {
        Calls::Any => CALLED_BY_WHATEVER_NAME,
        Calls::Named(_) => CALLED,
    }
}

/// What uses a policy: the bindings that name it (CO-532).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn used_by(ctx: &Context, actor: &Actor, kind: Option<Kind>, pk: PolicyId) -> Result<Vec<Use>, Error> {
    actor.need_on(Verb::View, model_of(kind), &pk)?;
    let mut conn = ctx.db.read().await?;
    stored(&mut conn, kind, pk).await?;
    let bindings = binding::of_policy(&mut conn, pk).await?;
    Ok(used_by::bindings(actor, &bindings, used_by::Action::SetNull))
}

/// What came of trying a policy out.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Whether it passes. One that could not be evaluated does not.
    pub passing: bool,
    /// What it has to say.
    pub messages: Vec<String>,
    /// Its log.
    pub log: Vec<LogLine>,
}

/// Tries a policy out on a user. Nothing is recorded (CO-178), and nothing is changed (CO-179).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for an unknown user.
pub async fn test(
    ctx: &Context,
    actor: &Actor,
    pk: PolicyId,
    user: UserPk,
    context: Map<String, Value>,
    http: Option<Arc<HttpFacts>>,
) -> Result<Trial, Error> {
    actor.need_on(Verb::View, Model::POLICY, &pk)?;
    let mut conn = ctx.db.read().await?;
    let policy = stored(&mut conn, None, pk).await?;
    // Expressions look up whomever they like.
    if policy.kind == Kind::Expression.name() && !actor.may(Verb::View, Model::USER) {
        return Err(Error::Forbidden);
    }
    let person = directory::person(ctx, &mut conn, user).await?;
    let unknown = || Error::field("user", format!("Invalid pk \"{user}\" - object does not exist."));
    // Whom somebody may not see is not there for them.
    if !actor.may_on(Verb::View, Model::USER, &user) {
        return Err(unknown());
    }
    let person = Arc::new(person.ok_or_else(unknown)?);
    let sender = match actor.user {
        Some(user) => directory::person(ctx, &mut conn, user).await?.map(Arc::new),
        None => None,
    };
    // The connection is free again while the policy takes its time.
    drop(conn);
    let request = PolicyRequest {
        person: Some(person),
        application: None,
        provider: None,
        client: actor.client,
        flow: None,
        http,
        sender,
        explained: true,
        request: actor.request.clone(),
        context: request::context(ctx, actor.client, &context),
        debug: true,
        callers: vec![pk],
    };
    let task = run::Task { timeout: 0, evaluation: evaluate(ctx, &policy, Arc::new(request)) };
    Ok(match run::all(vec![task]).await.pop() {
        Some(Ok(outcome)) => Trial { passing: outcome.passing, messages: outcome.messages, log: outcome.log },
        Some(Err(failure)) => {
            let mut log = failure.log;
            log.push(LogLine::new(ctx.now(), "error", &policy.name, failure.message.clone()));
            Trial { passing: false, messages: vec![failure.message], log }
        }
        None => Trial { passing: false, messages: Vec::new(), log: Vec::new() },
    })
}

/// Whether policies of a kind say how passwords have to be, wherever they are bound, and not who gets there. How old they may be
/// does.
const fn is_about_passwords(kind: Kind) -> bool {
    matches!(kind, Kind::Password)
}

/// The fields of a kind when `written` is laid over what is `known`, checked.
fn settled(
    ctx: &Context,
    actor: &Actor,
    kind: Kind,
    known: Map<String, Value>,
    written: &Map<String, Value>,
    problems: &mut Problems,
) -> Result<Value, Error> {
    let before = known.get("expression").cloned();
    let settled = PolicyKind::overlaid(kind, known, written, problems)?;
    if let (PolicyKind::Expression(Expression { expression }), true, false) =
        (&settled, written.contains_key("expression"), problems.has("expression"))
    {
        let wrong = match &ctx.policies.expressions {
            Some(engine) => engine.compile(expression).err().unwrap_or_default(),
            None => vec!["Expression policies are not available in this build.".to_owned()],
        };
        wrong.into_iter().for_each(|message| problems.add("expression", message));
        if before.as_ref().and_then(Value::as_str) != Some(expression) {
            expressions::check_writer(actor, problems);
        }
    }
    Ok(Value::Object(settled.settings()))
}

/// A name that may be stored.
fn check_name(name: &str, problems: &mut Problems) {
    if name.is_empty() && !problems.has("name") {
        problems.add("name", "This field may not be blank.");
    }
    problems.limit_indexed("name", name);
}

fn taken(error: portcullis_store::StoreError) -> Error {
    Error::taken(error, "policy.name", "name", "Policy with this name already exists.")
}

/// How a policy is named in events.
pub(crate) fn named(policy: &Policy) -> Value {
    let (app, kind) = match Kind::parse(&policy.kind).map(Kind::descriptor) {
        Some(descriptor) => (descriptor.app, descriptor.model),
        None => ("authentik_policies", "policy"),
    };
    model(app, kind, policy.pk, &policy.name)
}

fn snapshot(policy: &Policy) -> Value {
    let mut fields = policy.settings.as_object().cloned().unwrap_or_default();
    fields.insert("name".to_owned(), json!(policy.name));
    fields.insert("execution_logging".to_owned(), json!(policy.execution_logging));
    Value::Object(fields)
}
