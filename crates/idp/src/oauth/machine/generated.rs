//! The account that stands for a client's secret (OA-310 … OA-313).

use portcullis_core::keys::sha256;
use portcullis_core::username::{LONGEST, replaced};
use portcullis_store::Conn;
use portcullis_store::account::{self, Account};
use portcullis_store::application::Application;
use serde_json::json;

use super::NOTE_SECONDS;
use crate::change::Change;
use crate::context::Context;
use crate::directory::{self, Person, lookup};
use crate::error::Error;
use crate::oauth::client::Client;

/// The client's account, or what it would be if it was made now. Nothing is written: policies are asked first.
pub(super) async fn person(ctx: &Context, conn: &mut Conn, client: &Client) -> Result<Person, Error> {
    match account::generated_for(conn, client.provider.pk).await? {
        Some(account) => directory::person_of_unchanged(ctx, conn, account).await,
        None => {
            let now = ctx.now();
            let wanted = username(client);
            // Policies are asked about the name that it will have: never about somebody else's (OA-312).
            let is_taken = account::by_username(conn, &wanted).await?.is_some();
            let account = Account {
                pk: portcullis_core::id::UserPk(-1),
                uuid: ctx.entropy.uuid(),
                username: if is_taken { distinct(client) } else { wanted },
                name: String::new(),
                email: String::new(),
                is_active: true,
                kind: "service_account".to_owned(),
                path: String::new(),
                attributes_sealed: Vec::new(),
                password_hash: None,
                password_changed: now,
                date_joined: now,
                last_updated: now,
                last_login: None,
                generated_for: Some(client.provider.pk),
            };
            let attributes = json!({"goauthentik.io/user/generated": true}).as_object().cloned().unwrap_or_default();
            Ok(Person {
                account,
                teams: std::sync::Arc::default(),
                direct_groups: Vec::new(),
                is_superuser: false,
                own_attributes: attributes.clone(),
                effective_attributes: attributes,
                uid: String::new(),
            })
        }
    }
}

/// Makes the account at its first use; afterwards refreshes what describes it, and nothing that an
/// administrator has set.
pub(super) async fn keep(
    ctx: &Context,
    change: &mut Change<'_>,
    client: &Client,
    application: &Application,
    person: &mut Person,
) -> Result<(), Error> {
    let now = ctx.now();
    let name = format!("Client credentials of {} ({})", application.name, client.provider.name);
    let path = format!("goauthentik.io/apps/{}", application.slug);
    // Another request may have made it meanwhile.
    if let Some(mut known) = account::generated_for(change.conn(), client.provider.pk).await? {
        let fresh = known.last_login.is_some_and(|last| last > now.plus_seconds(-NOTE_SECONDS));
        if known.name != name || known.path != path || !fresh {
            (known.name, known.path, known.last_login) = (name, path, Some(now));
            account::update(change.conn(), &known).await?;
        }
        *person = directory::person_of(ctx, change.conn(), known).await?;
        return Ok(());
    }
    person.account.name = name;
    person.account.path = path;
    person.account.last_login = Some(now);
    if account::by_username(change.conn(), &person.account.username).await?.is_some() {
        // Somebody else has the name, and keeps it (OA-312).
        person.account.username = distinct(client);
    }
    let pk = account::insert(change.conn(), &person.account).await?;
    person.account.pk = pk;
    person.account.attributes_sealed = lookup::keep(ctx, change.conn(), pk, &person.own_attributes).await?;
    person.uid = directory::uid(ctx, pk);
    Ok(())
}

fn username(client: &Client) -> String {
    let name: String = client.provider.name.chars().take(128).collect();
    replaced(&format!("ak-{name}-client_credentials"))
}

fn distinct(client: &Client) -> String {
    let digest = sha256(client.provider.uuid.to_string().as_bytes());
    let suffix: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let start: String = username(client).chars().take(LONGEST - suffix.len() - 1).collect();
    format!("{start}-{suffix}")
}
