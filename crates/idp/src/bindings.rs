//! Policy bindings: made, changed, deleted, orphaned (CO-135, CO-170, CO-180).

use portcullis_core::id::{ApplicationId, BindingId, EntitlementId, FlowId, GroupId, PolicyId, UserPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::binding::Binding;
use portcullis_store::{Conn, account, application, binding, entitlement, flow, policy, team};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory::shown::{ShownMember, ShownTeam, Viewer};
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::list::{Listed, Slice};
use crate::used_by::Use;
use crate::{applications, entitlements, policies};

pub use portcullis_store::binding::{Filter, Order};

/// What is to be stored of a binding; absent members stay as they are, or have their default on creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 8)")]
pub struct Fields {
    pub target: Option<Uuid>,
    pub policy: Option<Option<PolicyId>>,
    pub group: Option<Option<GroupId>>,
    pub user: Option<Option<UserPk>>,
    pub order: Option<i32>,
    pub negate: Option<bool>,
    pub enabled: Option<bool>,
    pub failure_result: Option<bool>,
    pub timeout: Option<i32>,
}

/// A binding with what it names.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub binding: Binding,
    /// The policy.
    pub policy: Option<policies::View>,
    /// The group.
    pub group: Option<ShownTeam>,
    /// The user.
    pub user: Option<ShownMember>,
}

/// The bindings that meet conditions.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission; or when the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<View>, Error> {
    let slice = slice.of(actor.sees(Model::BINDING)?);
    let mut conn = ctx.db.read().await?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    let Listed { rows, count } = binding::list(&mut conn, filter, slice).await?;
    let mut views = Vec::with_capacity(rows.len());
    for binding in rows {
        views.push(view(&viewer, &mut conn, binding).await?);
    }
    Ok(Listed { rows: views, count })
}

/// The binding with this key.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`]; or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, pk: BindingId) -> Result<View, Error> {
    actor.need_on(Verb::View, Model::BINDING, &pk)?;
    let mut conn = ctx.db.read().await?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    let found = binding::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("PolicyBinding"))?;
    view(&viewer, &mut conn, found).await
}

/// The bindings that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub async fn all_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<View>, Error> {
    let (ctx, actor) = (change.context(), change.actor());
    let conn = change.conn();
    let viewer = Viewer::of(ctx, conn, actor).await?;
    let mut views = Vec::new();
    for binding in binding::list(conn, filter, Slice::ALL).await?.rows {
        views.push(view(&viewer, conn, binding).await?);
    }
    Ok(views)
}

async fn view(viewer: &Viewer<'_>, conn: &mut Conn, binding: Binding) -> Result<View, Error> {
    let group = match binding.team {
        Some(pk) => team::by_pk(conn, pk).await?,
        None => None,
    };
    let user = match binding.account {
        Some(pk) => account::by_pk(conn, pk).await?,
        None => None,
    };
    let policy = match binding.policy {
        Some(pk) => policy::by_pk(conn, pk).await?,
        None => None,
    };
    let policy = match policy {
        Some(policy) => Some(policies::view(conn, policy).await?),
        None => None,
    };
    Ok(View {
        binding,
        policy,
        group: group.map(|team| viewer.team(team)).transpose()?,
        user: user.map(|account| viewer.member(account)).transpose()?,
    })
}

/// What uses a binding: nothing (CO-532).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`]; or when the store fails.
pub async fn used_by(ctx: &Context, actor: &Actor, pk: BindingId) -> Result<Vec<Use>, Error> {
    get(ctx, actor, pk).await?;
    Ok(Vec::new())
}

/// Makes a binding.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<BindingId, Error> {
    actor.need(Verb::Add, Model::BINDING)?;
    let mut change = Change::begin(ctx, actor).await?;
    let pk = create_in(ctx, &mut change, fields).await?;
    change.commit().await?;
    Ok(pk)
}

/// Makes a binding as part of a larger change. That the actor may change what it is bound to is looked at here.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(ctx: &Context, change: &mut Change<'_>, fields: Fields) -> Result<BindingId, Error> {
    let mut made = Binding {
        pk: BindingId(ctx.entropy.uuid()),
        target: Uuid::nil(),
        policy: None,
        team: None,
        account: None,
        position: 0,
        negate: false,
        enabled: true,
        failure_result: false,
        timeout: 30,
    };
    let mut problems = Problems::default();
    for (field, missing) in [("target", fields.target.is_none()), ("order", fields.order.is_none())] {
        if missing {
            problems.add(field, "This field is required.");
        }
    }
    apply(&mut made, &fields);
    check(change, &made, None, &fields, problems).await?;
    binding::insert(change.conn(), &made).await?;
    touch(change, made.target).await?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    Ok(made.pk)
}

/// Changes a binding.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: BindingId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::BINDING, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a binding as part of a larger change. That the actor may change what it is bound to is looked at here.
///
/// # Errors
/// As [`update`].
pub async fn update_in(change: &mut Change<'_>, pk: BindingId, fields: Fields) -> Result<(), Error> {
    let stored = binding::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("PolicyBinding"))?;
    if !may_open(change, stored.target).await? {
        return Err(Error::Forbidden);
    }
    let mut changed = stored.clone();
    apply(&mut changed, &fields);
    check(change, &changed, Some(&stored), &fields, Problems::default()).await?;
    binding::update(change.conn(), &changed).await?;
    touch(change, stored.target).await?;
    touch(change, changed.target).await?;
    let context = json!({"model": named(&changed), "diff": diff(&snapshot(&stored), &snapshot(&changed))});
    change.event("model_updated", context).await?;
    if stored.enabled && (!changed.enabled || stored.target != changed.target) {
        warn_if_last(change, stored.target).await?;
    }
    Ok(())
}

/// Deletes a binding.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn delete(ctx: &Context, actor: &Actor, pk: BindingId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::BINDING, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk).await?;
    change.commit().await
}

/// Deletes a binding as part of a larger change: it may open what it is bound to, which the actor has to be allowed to
/// change.
///
/// # Errors
/// As [`delete`].
pub async fn delete_in(change: &mut Change<'_>, pk: BindingId) -> Result<(), Error> {
    let gone = binding::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("PolicyBinding"))?;
    if !may_open(change, gone.target).await? {
        return Err(Error::Forbidden);
    }
    binding::delete(change.conn(), pk).await?;
    touch(change, gone.target).await?;
    change.event("model_deleted", json!({"model": named(&gone)})).await?;
    if gone.enabled {
        warn_if_last(change, gone.target).await?;
    }
    Ok(())
}

/// Call it before a group is deleted: its bindings become orphans, which deny, and somebody should know
/// (CO-180).
///
/// # Errors
/// When the store fails.
pub async fn before_group_is_deleted(change: &mut Change<'_>, group: GroupId) -> Result<(), Error> {
    let orphans = binding::of_team(change.conn(), group).await?;
    orphaned(change, orphans).await
}

/// Call it before a user is deleted: their bindings become orphans, which deny, and somebody should know
/// (CO-180).
///
/// # Errors
/// When the store fails.
pub async fn before_user_is_deleted(change: &mut Change<'_>, user: UserPk) -> Result<(), Error> {
    let orphans = binding::of_account(change.conn(), user).await?;
    orphaned(change, orphans).await
}

/// Call it before a policy is deleted: its bindings become orphans, which deny, and somebody should know
/// (CO-180).
///
/// # Errors
/// When the store fails.
pub async fn before_policy_is_deleted(change: &mut Change<'_>, policy: PolicyId) -> Result<(), Error> {
    let orphans = binding::of_policy(change.conn(), policy).await?;
    orphaned(change, orphans).await
}

/// Has everyone looked at again whom a policy lets pass, or does not (CO-177).
///
/// # Errors
/// When the store fails.
pub async fn touch_bound(change: &mut Change<'_>, policy: PolicyId) -> Result<(), Error> {
    for binding in binding::of_policy(change.conn(), policy).await? {
        touch(change, binding.target).await?;
    }
    Ok(())
}

async fn orphaned(change: &mut Change<'_>, orphans: Vec<Binding>) -> Result<(), Error> {
    for orphan in orphans {
        touch(change, orphan.target).await?;
        let message = "A policy binding has lost what it named. It denies until it is changed or deleted.";
        let application = entitlements::application_of(change.conn(), orphan.target).await?;
        let entitlement = entitlement::by_uuid(change.conn(), EntitlementId(orphan.target)).await?;
        let context = json!({
            "message": message,
            "binding": named(&orphan),
            "application": application.as_ref().map(applications::named),
            "entitlement": entitlement.as_ref().map(entitlements::named),
        });
        change.event("configuration_warning", context).await?;
    }
    Ok(())
}

/// Says so when a target has lost its last binding that counts: it is open to everybody then (CO-135).
async fn warn_if_last(change: &mut Change<'_>, target: Uuid) -> Result<(), Error> {
    let Some(application) = application::by_uuid(change.conn(), ApplicationId(target)).await? else { return Ok(()) };
    if binding::count_enabled(change.conn(), target).await? > 0 {
        return Ok(());
    }
    let message = format!(
        "Application {} has no enabled binding any more: the default for applications applies.",
        application.name
    );
    let context = json!({"message": message, "application": applications::named(&application)});
    change.event("configuration_warning", context).await
}

/// Has everyone who uses the target's application looked at again.
async fn touch(change: &mut Change<'_>, target: Uuid) -> Result<(), Error> {
    let application = entitlements::application_of(change.conn(), target).await?;
    if let Some(provider) = application.and_then(|application| application.provider) {
        change.touch(Touched::Provider(provider));
    }
    Ok(())
}

/// Whether the actor may say who gets to a target: whoever may change the application, or that of the entitlement. Flows
/// are for superusers.
async fn may_open(change: &mut Change<'_>, target: Uuid) -> Result<bool, Error> {
    if change.actor().is_superuser {
        return Ok(true);
    }
    let application = entitlements::application_of(change.conn(), target).await?;
    let may = |application: application::Application| {
        change.actor().may_on(Verb::Change, Model::APPLICATION, &application.uuid)
    };
    Ok(application.is_some_and(may))
}

/// Whether the actor may say who gets to everything that a policy is bound to.
///
/// # Errors
/// When the store fails.
pub(crate) async fn may_open_bound(change: &mut Change<'_>, policy: PolicyId) -> Result<bool, Error> {
    for binding in binding::of_policy(change.conn(), policy).await? {
        if !may_open(change, binding.target).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn apply(binding: &mut Binding, fields: &Fields) {
    binding.target = fields.target.unwrap_or(binding.target);
    binding.policy = fields.policy.unwrap_or(binding.policy);
    binding.team = fields.group.unwrap_or(binding.team);
    binding.account = fields.user.unwrap_or(binding.account);
    binding.position = fields.order.unwrap_or(binding.position);
    binding.negate = fields.negate.unwrap_or(binding.negate);
    binding.enabled = fields.enabled.unwrap_or(binding.enabled);
    binding.failure_result = fields.failure_result.unwrap_or(binding.failure_result);
    binding.timeout = fields.timeout.unwrap_or(binding.timeout);
}

async fn check(
    change: &mut Change<'_>,
    binding: &Binding,
    before: Option<&Binding>,
    fields: &Fields,
    mut problems: Problems,
) -> Result<(), Error> {
    let invalid = |pk: &dyn std::fmt::Display| format!("Invalid pk \"{pk}\" - object does not exist.");
    // An orphan may be disabled, moved in the order and so on, as long as it stays what it is (CO-180).
    let nothing = |binding: &Binding| binding.team.is_none() && binding.account.is_none() && binding.policy.is_none();
    let orphan = nothing(binding) && before.is_some_and(|before| nothing(before) && before.target == binding.target);
    // A binding on anything else would promise too much.
    let on_entitlement = entitlement::by_uuid(change.conn(), EntitlementId(binding.target)).await?.is_some();
    let names = [
        ("target", fields.target.is_some()),
        ("user", fields.user.is_some()),
        ("group", fields.group.is_some()),
        ("policy", fields.policy.is_some()),
    ];
    let target = binding.target;
    if let Some((field, _)) = names.into_iter().find(|(_, is_given)| *is_given)
        && !on_entitlement
        && application::by_uuid(change.conn(), ApplicationId(target)).await?.is_none()
    {
        match flow::by_pk(change.conn(), FlowId(target)).await? {
            // It is asked before anybody is known, so that these would keep everybody out (CO-172).
            Some(flow) if flow.authentication != "require_authenticated" && binding.policy.is_none() && !orphan => {
                problems.add(field, "Nobody is known when this flow begins: only policies can be bound to it.");
            }
            Some(flow) if flow.designation != "authorization" => {}
            Some(_) => problems.add("target", "Bind to the application: its own bindings decide who may use it."),
            None => problems.add("target", invalid(&target)),
        }
    }
    if let Some(target) = fields.target
        && before.is_none_or(|before| before.target != target)
        && !problems.has("target")
        && !may_open(change, target).await?
    {
        problems.add("target", "User does not have access to target.");
    }
    if let Some(policy) = fields.policy.flatten()
        && policy::by_pk(change.conn(), policy).await?.is_none()
    {
        problems.add("policy", invalid(&policy));
    }
    if let Some(group) = fields.group.flatten()
        && team::by_pk(change.conn(), group).await?.is_none()
    {
        problems.add("group", invalid(&group));
    }
    if let Some(user) = fields.user.flatten()
        && account::by_pk(change.conn(), user).await?.is_none()
    {
        problems.add("user", invalid(&user));
    }
    if binding.timeout < 0 {
        problems.add("timeout", "Ensure this value is greater than or equal to 0.");
    }
    if problems.is_empty() {
        let members = [binding.team.is_some(), binding.account.is_some(), binding.policy.is_some()];
        let named = members.iter().filter(|is_set| **is_set).count();
        let supported = if on_entitlement { "'group', 'user'" } else { "'group', 'policy', 'user'" };
        // A policy on an entitlement is nothing that could be set there (CO-150).
        if (named == 0 && !orphan) || (on_entitlement && binding.policy.is_some()) {
            problems.add("non_field_errors", format!("One of {supported} must be set."));
        } else if named > 1 {
            problems.add("non_field_errors", format!("Only one of {supported} can be set."));
        }
    }
    if problems.is_empty() && binding::collides(change.conn(), binding).await? {
        problems.add("non_field_errors", "The fields policy, target, order must make a unique set.");
    }
    problems.check()
}

fn named(binding: &Binding) -> Value {
    model("authentik_policies", "policybinding", binding.pk, &title(binding))
}

/// What people call a binding.
pub(crate) fn title(binding: &Binding) -> String {
    format!("Binding #{}", binding.position)
}

fn snapshot(binding: &Binding) -> Value {
    json!({
        "target": binding.target,
        "policy": binding.policy,
        "group": binding.team,
        "user": binding.account,
        "order": binding.position,
        "negate": binding.negate,
        "enabled": binding.enabled,
        "failure_result": binding.failure_result,
        "timeout": binding.timeout,
    })
}
