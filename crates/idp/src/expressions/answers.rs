//! Answers what expressions ask, from the store.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::attributes::{Attributes, SecretKeys, merge};
use portcullis_core::id::{ApplicationId, GroupId, RoleId, UserPk};
use portcullis_core::permission::special;
use portcullis_expr::{
    AddressFamily, Authenticator, Called, Comparison, Entitlement, Field, Filter, FlowPlan, Group, HostError, Inputs,
    NamedObject, Object, PolicyResult, Program, User, Value,
};
use portcullis_store::account::{self, Account};
use portcullis_store::role::Role;
use portcullis_store::{Conn, policy, role, team};
use serde_json::{Map, Value as Json};

use super::asking::{Callee, Question, Start};
use super::objects::{self, Surroundings};
use crate::context::Context;
use crate::directory::{self, Person, secret_keys, team_attributes};
use crate::error::Error;
use crate::list::Slice;
use crate::policies::{self, HttpFacts, PolicyKind, PolicyRequest};
use crate::rights::Rights;
use crate::{authenticators, brands, entitlements, settings};

/// How long a name is looked up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Users that are looked at together where no index helps.
const AT_ONCE: i64 = 500;

/// What one evaluation is about, and where its answers come from.
pub(super) struct World<'a> {
    ctx: &'a Context,
    /// Who asks for what, and about whom.
    request: &'a PolicyRequest,
    /// Secret attributes of that user which may be seen, because the provider is configured to use them (CO-229).
    kept: &'a [&'a str],
}

impl<'a> World<'a> {
    pub(super) fn new(ctx: &'a Context, request: &'a PolicyRequest) -> Self {
        Self { ctx, request, kept: &[] }
    }

    /// One in which these secret attributes may be seen.
    pub(super) fn keeping(self, kept: &'a [&'a str]) -> Self {
        Self { kept, ..self }
    }

    /// What the evaluation begins with, as far as policies and mappings begin alike.
    pub(super) async fn start(&self, name: &str, program: &Program) -> Result<Start, Error> {
        let (ctx, request) = (self.ctx, self.request);
        let mut conn = ctx.db.read().await?;
        let secrets = secret_keys(self.ctx, &mut conn).await?;
        let around = match request.http.as_deref().filter(|_| program.reads_surroundings()) {
            Some(http) => self.surroundings(&mut conn, http, &secrets).await?,
            None => Surroundings::default(),
        };
        drop(conn);
        let user = |kept: &[&str]| match &request.person {
            Some(person) => {
                objects::user(ctx, &person.account, person.is_superuser, &secrets, kept).map(Arc::new).map(Some)
            }
            None => Ok(None),
        };
        let plain = user(&[])?;
        let user = if self.kept.is_empty() { plain.clone() } else { user(self.kept)? };
        let application = request.application.as_deref();
        let application = application.map(|found| objects::application(found, request.provider.as_deref()));
        let http = request.http.as_deref();
        let sender = match &request.sender {
            Some(sender) => Arc::new(objects::user(ctx, &sender.account, sender.is_superuser, &secrets, &[])?),
            None => plain.clone().unwrap_or_else(|| Arc::new(User::anonymous())),
        };
        let http =
            http.map(|facts| Arc::new(objects::http(facts, &request.request.id, request.client, sender, around)));
        let obj = application.clone().map_or(Value::None, |found| Object::Application(Arc::new(found)).into());
        let mut context: Vec<(String, Value)> =
            request.context.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect();
        if let Some(found) = application
            && !request.context.contains_key("application")
        {
            context.push(("application".to_owned(), Object::Application(Arc::new(found)).into()));
        }
        let mut flow = None;
        if let Some(facts) = &request.flow {
            let mut gathered: Vec<(String, Value)> =
                facts.entries.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect();
            if let Some(person) = &facts.pending {
                let pending = objects::user(ctx, &person.account, person.is_superuser, &secrets, &[])?;
                gathered.push(("pending_user".to_owned(), Object::User(Arc::new(pending)).into()));
            }
            if let Some(found) = &facts.application {
                let found = objects::application(found, None);
                gathered.push(("application".to_owned(), Object::Application(Arc::new(found)).into()));
            }
            context.extend(gathered.iter().cloned());
            flow = Some(FlowPlan { context: gathered, may_set_pending_user: facts.open });
        }
        let inputs = Inputs {
            name: name.to_owned(),
            flow,
            user,
            http_request: http,
            obj,
            context,
            debug: request.debug,
            client_ip: request.client,
            ..Inputs::default()
        };
        Ok(Start { inputs, plain })
    }

    async fn surroundings(
        &self,
        conn: &mut Conn,
        http: &HttpFacts,
        secrets: &SecretKeys,
    ) -> Result<Surroundings, Error> {
        let brand = objects::brand(self.ctx, &brands::of_host(conn, &http.host).await?, secrets)?;
        // Who tries something out reads what it says: settings are for those who may see them. Where only the decision is
        // told, it is the one that holds (CO-137).
        let may_see = match self.request.sender.as_deref().filter(|_| self.request.explained) {
            Some(by) => {
                by.is_superuser || Rights::of_person(conn, by).await?.granted().hold(special::VIEW_SYSTEM_SETTINGS)
            }
            None => true,
        };
        let settings = if may_see { settings::tenant(self.ctx, conn).await? } else { Attributes::default() };
        let tenant = settings.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
        Ok(Surroundings { brand: Some(Arc::new(brand)), tenant })
    }

    /// Answers one question. Whoever asked may have gone meanwhile.
    pub(super) async fn answer(&self, question: Question) {
        match question {
            Question::Now(reply) => {
                let now = objects::instant(self.ctx.now()).unwrap_or_default();
                drop(reply.send(Ok(now)));
            }
            Question::FindUser(filters, reply) => drop(reply.send(told(self.find_user(&filters).await))),
            Question::Groups(user, all, reply) => drop(reply.send(told(self.groups(user, all).await))),
            Question::Roles(user, inherited, reply) => drop(reply.send(told(self.roles(user, inherited).await))),
            Question::Attributes { user, mapping, with_brand, reply } => {
                let kept = if mapping { self.kept } else { &[] };
                drop(reply.send(told(self.attributes(user, with_brand, kept).await)));
            }
            Question::Entitlements(user, of, reply) => drop(reply.send(told(self.entitlements(user, &of).await))),
            Question::HasAuthenticator(user, kind, reply) => drop(reply.send(told(self.has(user, kind).await))),
            Question::Relatives(of, above, reply) => drop(reply.send(told(self.relatives(&of, above).await))),
            Question::GroupRoles(of, reply) => drop(reply.send(told(self.group_roles(&of).await))),
            Question::Policy(name, added, reply) => drop(reply.send(self.policy(&name, added).await)),
            Question::Resolve(name, family, reply) => drop(reply.send(Ok(resolve(&name, family).await))),
            Question::Reverse(address, reply) => drop(reply.send(Ok(reverse(address).await))),
        }
    }

    async fn has(&self, user: Option<i32>, kind: Option<Authenticator>) -> Result<bool, Error> {
        let Some(pk) = user else { return Ok(false) };
        let devices = authenticators::of_account(&mut self.ctx.db.read().await?, UserPk(pk)).await?;
        Ok(devices.iter().any(|device| match kind {
            None => true,
            Some(Authenticator::Totp) => device.class == authenticators::TOTP,
            Some(Authenticator::Static) => device.class == authenticators::RECOVERY_CODES,
            Some(Authenticator::WebAuthn) => device.class == authenticators::WEBAUTHN,
        }))
    }

    /// Who is asked about is known; everybody else is looked up. An account that is about to be made is in no store.
    async fn person(&self, conn: &mut Conn, user: Option<i32>) -> Result<Option<Arc<Person>>, Error> {
        let Some(pk) = user.map(UserPk) else { return Ok(None) };
        match &self.request.person {
            Some(person) if person.account.pk == pk => Ok(Some(Arc::clone(person))),
            _ => Ok(directory::person(self.ctx, conn, pk).await?.map(Arc::new)),
        }
    }

    async fn shown(&self, conn: &mut Conn, account: Account, secrets: &SecretKeys) -> Result<User, Error> {
        let teams = team::of_account_with_ancestors(conn, account.pk).await?;
        let is_superuser = teams.iter().any(|joined| joined.team.is_superuser);
        objects::user(self.ctx, &account, is_superuser, secrets, &[])
    }

    /// The first by key (CO-240). An exact name, key or address leads to few; everything else looks at all.
    async fn find_user(&self, filters: &[Filter]) -> Result<Option<User>, Error> {
        let mut conn = self.ctx.db.read().await?;
        let secrets = secret_keys(self.ctx, &mut conn).await?;
        let mut narrowed = account::Filter { order: vec![(account::Order::Pk, false)], ..account::Filter::default() };
        for filter in filters.iter().filter(|filter| filter.comparison == Comparison::Exact) {
            match (&filter.field, &filter.value) {
                (Field::Pk, Json::Number(pk)) => {
                    let Some(pk) = pk.as_i64().and_then(|pk| i32::try_from(pk).ok()) else { return Ok(None) };
                    narrowed.pk = Some(UserPk(pk));
                }
                (Field::Username, Json::String(name)) => narrowed.username = Some(name.clone()),
                (Field::Email, Json::String(email)) => narrowed.email = Some(email.clone()),
                (Field::Name, Json::String(name)) => narrowed.name = Some(name.clone()),
                _ => {}
            }
        }
        let mut offset = 0;
        loop {
            let page = account::list(&mut conn, &narrowed, Slice { limit: AT_ONCE, offset, ..Slice::ALL }).await?;
            let found = i64::try_from(page.rows.len()).unwrap_or(AT_ONCE);
            for account in page.rows {
                let user = self.shown(&mut conn, account, &secrets).await?;
                if filters.iter().all(|filter| filter.matches_user(&user)) {
                    return Ok(Some(user));
                }
            }
            if found < AT_ONCE {
                return Ok(None);
            }
            offset += found;
        }
    }

    async fn groups(&self, user: Option<i32>, all: bool) -> Result<Vec<Group>, Error> {
        let Some(pk) = user.map(UserPk) else { return Ok(Vec::new()) };
        let mut conn = self.ctx.db.read().await?;
        let secrets = secret_keys(self.ctx, &mut conn).await?;
        let joined = team::of_account_with_ancestors(&mut conn, pk).await?;
        let wanted = joined.iter().filter(|joined| all || joined.direct);
        wanted.map(|joined| objects::group(self.ctx, &joined.team, &secrets)).collect()
    }

    async fn roles(&self, user: Option<i32>, inherited: bool) -> Result<Vec<NamedObject>, Error> {
        let Some(pk) = user.map(UserPk) else { return Ok(Vec::new()) };
        let mut conn = self.ctx.db.read().await?;
        let roles = match inherited {
            true => role::all_of_account(&mut conn, pk).await?,
            false => role::of_account(&mut conn, pk).await?,
        };
        Ok(roles.into_iter().map(named).collect())
    }

    /// Of groups and user, on top of the brand's if they are wanted (CO-064, CO-233). What is kept is kept of who is
    /// asked about, and of nobody else.
    async fn attributes(&self, user: Option<i32>, with_brand: bool, kept: &[&str]) -> Result<Map<String, Json>, Error> {
        let mut conn = self.ctx.db.read().await?;
        let secrets = secret_keys(self.ctx, &mut conn).await?;
        let Some(person) = self.person(&mut conn, user).await? else { return Ok(Map::new()) };
        let asked_about = self.request.person.as_ref().is_some_and(|asked| asked.account.pk == person.account.pk);
        let kept = if asked_about { kept } else { &[] };
        let mut merged = Attributes::new();
        if let Some(http) = self.request.http.as_deref().filter(|_| with_brand) {
            let brand = brands::of_host(&mut conn, &http.host).await?;
            merge(&mut merged, secrets.without(&brands::attributes(self.ctx, &brand)?, &[]));
        }
        for team in person.teams.iter() {
            merge(&mut merged, secrets.without(&team_attributes(self.ctx, team)?, kept));
        }
        merge(&mut merged, secrets.without(&person.own_attributes, kept));
        Ok(merged)
    }

    async fn entitlements(&self, user: Option<i32>, application: &str) -> Result<Vec<Entitlement>, Error> {
        let Ok(application) = application.parse::<ApplicationId>() else { return Ok(Vec::new()) };
        let mut conn = self.ctx.db.read().await?;
        let secrets = secret_keys(self.ctx, &mut conn).await?;
        let Some(person) = self.person(&mut conn, user).await? else { return Ok(Vec::new()) };
        let held = entitlements::held(&mut conn, &person, application).await?;
        held.iter()
            .map(|one| {
                let object = NamedObject { pk: one.uuid.to_string(), name: one.name.clone() };
                let attributes = secrets.without(&entitlements::attributes_of(self.ctx, one)?, &[]);
                Ok(Entitlement { object, attributes })
            })
            .collect()
    }

    async fn relatives(&self, of: &str, above: bool) -> Result<Vec<Group>, Error> {
        let Ok(pk) = of.parse::<GroupId>() else { return Ok(Vec::new()) };
        let mut conn = self.ctx.db.read().await?;
        let secrets = secret_keys(self.ctx, &mut conn).await?;
        let teams = if above { team::parents(&mut conn, pk).await? } else { team::children(&mut conn, pk).await? };
        teams.iter().map(|team| objects::group(self.ctx, team, &secrets)).collect()
    }

    async fn group_roles(&self, of: &str) -> Result<Vec<NamedObject>, Error> {
        let Ok(pk) = of.parse::<GroupId>() else { return Ok(Vec::new()) };
        let mut conn = self.ctx.db.read().await?;
        Ok(role::of_team(&mut conn, pk).await?.into_iter().map(named).collect())
    }

    /// Another policy (CO-242). One that is an expression is run where the asking one runs.
    async fn policy(&self, name: &str, added: Vec<(String, Json)>) -> Result<Callee, HostError> {
        let mut conn = self.ctx.db.read().await.map_err(|error| failed(&error.into()))?;
        let found = policy::by_name(&mut conn, name).await.map_err(|error| failed(&error.into()))?;
        drop(conn);
        let found = found.ok_or_else(|| HostError::new(format!("there is no policy '{name}'")))?;
        let kind = PolicyKind::read(&found.kind, &found.settings)
            .map_err(|_| HostError::new(format!("policy '{name}' cannot be read")))?;
        if let PolicyKind::Expression(expression) = kind {
            return Ok(Callee::Expression(expression.expression));
        }
        let mut request = self.request.clone();
        request.context.extend(added);
        let said = policies::evaluate(self.ctx, &found, Arc::new(request)).await;
        let said = said.map_err(|failure| HostError::new(failure.message))?;
        let result = PolicyResult { passing: said.passing, messages: said.messages, raw_result: said.raw };
        Ok(Callee::Answered(Called { result, ..Called::default() }))
    }
}

fn named(role: Role) -> NamedObject {
    let RoleId(pk) = role.pk;
    NamedObject { pk: pk.to_string(), name: role.name }
}

fn told<T>(answer: Result<T, Error>) -> Result<T, HostError> {
    answer.map_err(|error| failed(&error))
}

/// What is told to whoever wrote the expression; the reason is for the server's log.
fn failed(error: &Error) -> HostError {
    tracing::error!(%error, "an expression's question cannot be answered");
    HostError::new("the database failed")
}

async fn resolve(name: &str, family: Option<AddressFamily>) -> Vec<IpAddr> {
    let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await;
    let Ok(Ok(found)) = looked_up else { return Vec::new() };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|socket| socket.ip()) {
        let wanted = match family {
            None => true,
            Some(AddressFamily::V4) => address.is_ipv4(),
            Some(AddressFamily::V6) => address.is_ipv6(),
        };
        if wanted && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// The name of an address. The system's resolver is asked on a thread that may wait.
async fn reverse(address: IpAddr) -> Option<String> {
    let asked = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address).ok());
    let name = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok().flatten()?;
    // Without a name the resolver gives the address back.
    (name.parse::<IpAddr>().is_err()).then_some(name)
}
