//! Sessions that hold only while their browser stays in a network, or in a place (CO-386).

use std::net::IpAddr;

use portcullis_store::account::Account;
use portcullis_store::login_session::LoginSession;
use serde_json::{Value, json};

use crate::change::{Change, Touched};
use crate::context::{Actor, Context, Visitor};
use crate::error::Error;
use crate::event::model;
use crate::places::Places;

/// How far a session is bound to a network: each level holds what those before it hold.
pub(crate) const TO_NETWORK: [&str; 4] = ["no_binding", "bind_asn", "bind_asn_network", "bind_asn_network_ip"];
/// How far a session is bound to a place.
pub(crate) const TO_PLACE: [&str; 4] =
    ["no_binding", "bind_continent", "bind_continent_country", "bind_continent_country_city"];

/// What a session to be is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Bindings<'a> {
    /// Name of the level of networks.
    pub network: &'a str,
    /// Name of the level of places.
    pub place: &'a str,
}

impl Default for Bindings<'_> {
    fn default() -> Self {
        Self { network: "no_binding", place: "no_binding" }
    }
}

impl<'a> Bindings<'a> {
    /// Those of a session.
    pub(crate) fn of(session: &'a LoginSession) -> Self {
        Self { network: &session.network_binding, place: &session.geoip_binding }
    }
}

/// Why a session does not hold at another address.
#[derive(Clone, Debug, PartialEq)]
struct Broken {
    reason: &'static str,
    previous: Value,
    new: Value,
}

/// One thing that a session is bound to: the reason that names it, what it was, and what it is now.
type Property = (&'static str, Option<Value>, Option<Value>);

/// Ends a session whose browser has gone where it does not hold; tells whether that is so. What is not known of one of
/// the two addresses counts as another place.
///
/// # Errors
/// When the store fails; treat that as ended.
pub(super) async fn review(
    ctx: &Context,
    session: &LoginSession,
    account: &Account,
    visitor: &Visitor,
) -> Result<bool, Error> {
    let Some(broken) = broken(&ctx.places, session, visitor.client) else { return Ok(false) };
    let Visitor { request, .. } = visitor.clone().in_session(session);
    let (user, username) = (Some(account.pk), account.username.clone());
    let actor = Actor { user, username, request, ..visitor.stranger("") };
    let mut change = match Change::begin(ctx, &actor).await {
        // Deactivated or deleted just now, with every session.
        Err(Error::Forbidden) => return Ok(true),
        begun => begun?,
    };
    // Another request may have come first.
    if super::end(ctx, change.conn(), &session.sid).await? {
        change.touch(Touched::Session(session.sid.clone()));
        let context = json!({
            "logout_reason": "Session binding broken",
            "binding": {"reason": broken.reason, "previous_value": broken.previous, "new_value": broken.new},
            "ip": {"previous": session.last_ip, "new": visitor.client.to_string()},
            "model": model("authentik_core", "user", account.pk, &account.username),
        });
        change.event("logout", context).await?;
        change.commit().await?;
    }
    Ok(true)
}

fn broken(places: &Places, session: &LoginSession, client: IpAddr) -> Option<Broken> {
    let client = client.to_canonical();
    let before = session.last_ip.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    if before == Some(client) {
        return None;
    }
    let bindings = Bindings::of(session);
    of_network(places, level(&TO_NETWORK, bindings.network), before, client)
        .or_else(|| of_place(places, level(&TO_PLACE, bindings.place), before, client))
}

/// How many properties count. A level that cannot be read is the strictest.
fn level(names: &[&str], name: &str) -> usize {
    names.iter().position(|known| *known == name).unwrap_or(names.len())
}

fn of_network(places: &Places, level: usize, before: Option<IpAddr>, client: IpAddr) -> Option<Broken> {
    if level == 0 {
        return None;
    }
    let (old, new) = (before.and_then(|address| places.network(address)), places.network(client));
    let (Some(old), Some(new)) = (&old, &new) else {
        let shown = |network: Option<crate::places::Network>| network.map_or(Value::Null, |network| network.shown());
        return Some(Broken { reason: "network.missing", previous: shown(old), new: shown(new) });
    };
    let properties = [
        ("network.asn", old.number.map(Value::from), new.number.map(Value::from)),
        ("network.asn_network", Some(json!(old.network)), Some(json!(new.network))),
        ("network.ip", before.map(|address| json!(address)), Some(json!(client))),
    ];
    first_difference(properties.into_iter().take(level), "network.missing")
}

fn of_place(places: &Places, level: usize, before: Option<IpAddr>, client: IpAddr) -> Option<Broken> {
    if level == 0 {
        return None;
    }
    let (old, new) = (before.and_then(|address| places.place(address)), places.place(client));
    let (Some(old), Some(new)) = (&old, &new) else {
        let shown = |place: Option<crate::places::Place>| place.map_or(Value::Null, |place| place.shown());
        return Some(Broken { reason: "geoip.missing", previous: shown(old), new: shown(new) });
    };
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let city = |city: &String| Some(json!(city)).filter(|_| !city.is_empty());
    let properties = [
        ("geoip.continent", text(&old.continent), text(&new.continent)),
        ("geoip.country", text(&old.country), text(&new.country)),
        ("geoip.city", city(&old.city), city(&new.city)),
    ];
    first_difference(properties.into_iter().take(level), "geoip.missing")
}

fn first_difference(mut properties: impl Iterator<Item = Property>, missing: &'static str) -> Option<Broken> {
    properties.find_map(|(reason, previous, new)| match (previous, new) {
        (Some(previous), Some(new)) if previous == new => None,
        (Some(previous), Some(new)) => Some(Broken { reason, previous, new }),
        (previous, new) => {
            let (previous, new) = (previous.unwrap_or_default(), new.unwrap_or_default());
            Some(Broken { reason: missing, previous, new })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::tests::places;
    use portcullis_core::clock::Timestamp;
    use portcullis_core::id::UserPk;

    fn session(last_ip: &str, network: &str, place: &str) -> LoginSession {
        let then = Timestamp::from_seconds(0);
        LoginSession {
            digest: Vec::new(),
            uuid: uuid::Uuid::nil(),
            sid: String::new(),
            account: UserPk(1),
            auth_time: then,
            auth_method: String::new(),
            second_factor: None,
            created: then,
            expires: then,
            idle_seconds: 1,
            idle_expires: then,
            last_used: then,
            last_ip: last_ip.to_owned(),
            user_agent: String::new(),
            application: None,
            network_binding: network.to_owned(),
            geoip_binding: place.to_owned(),
            impersonator: None,
            impersonator_sid: None,
            acting_as: None,
        }
    }

    /// CO-386: a session holds at another address if everything that it is bound to is known of both, and the same.
    #[test]
    fn co_386_bound_properties_are_compared() {
        let places = places();
        let reason = |session: &LoginSession, client: &str| {
            let broken = broken(&places, session, client.parse().expect("an address"));
            broken.map_or("", |broken| broken.reason)
        };
        let from = "192.0.2.7";
        let steps = [
            // client, reason by level
            ("192.0.2.7", ["", "", "", ""]),
            ("::ffff:192.0.2.7", ["", "", "", ""]),
            ("192.0.2.8", ["", "", "", "network.ip"]),
            ("192.0.2.20", ["", "", "network.asn_network", "network.asn_network"]),
            ("2001:db8:1::7", ["", "", "network.asn_network", "network.asn_network"]),
            ("192.0.2.40", ["", "network.asn", "network.asn", "network.asn"]),
            ("192.0.2.50", ["", "network.missing", "network.missing", "network.missing"]),
        ];
        for (client, reasons) in steps {
            for (level, wanted) in TO_NETWORK.into_iter().zip(reasons) {
                assert_eq!(reason(&session(from, level, "no_binding"), client), wanted, "{client} {level}");
            }
        }
        let steps = [
            ("192.0.2.7", ["", "", "", ""]),
            ("2001:db8:1::7", ["", "", "", ""]),
            ("192.0.2.20", ["", "", "", "geoip.city"]),
            ("192.0.2.40", ["", "", "geoip.country", "geoip.country"]),
            ("198.51.100.1", ["", "geoip.continent", "geoip.continent", "geoip.continent"]),
            ("203.0.113.1", ["", "geoip.missing", "geoip.missing", "geoip.missing"]),
        ];
        for (client, reasons) in steps {
            for (level, wanted) in TO_PLACE.into_iter().zip(reasons) {
                assert_eq!(reason(&session(from, "no_binding", level), client), wanted, "{client} {level}");
            }
        }
        // Two addresses without a city are not in the same city.
        let unknown = session("192.0.2.50", "no_binding", "bind_continent_country_city");
        assert_eq!(reason(&unknown, "192.0.2.51"), "geoip.missing");
        assert_eq!(reason(&session("192.0.2.50", "no_binding", "bind_continent_country"), "192.0.2.51"), "");
        // What cannot be read is the strictest; an address that cannot be read is known of by nobody.
        assert_eq!(reason(&session(from, "something", "no_binding"), "192.0.2.8"), "network.ip");
        assert_eq!(reason(&session("", "bind_asn", "no_binding"), from), "network.missing");
    }

    /// CO-386: without a database nothing is known of any address.
    #[test]
    fn co_386_nothing_is_known_without_a_database() {
        let places = Places::default();
        let reason =
            |session: &LoginSession| broken(&places, session, [192, 0, 2, 8].into()).map(|broken| broken.reason);
        assert_eq!(reason(&session("192.0.2.7", "bind_asn", "no_binding")), Some("network.missing"));
        assert_eq!(reason(&session("192.0.2.7", "no_binding", "bind_continent")), Some("geoip.missing"));
        assert_eq!(reason(&session("192.0.2.8", "bind_asn", "bind_continent")), None, "it has not moved");
        assert_eq!(reason(&session("192.0.2.7", "no_binding", "no_binding")), None);
    }
}
