//! Who acts for whom (OA-738, RFC 8693 §4.1 and §4.4): pure rules over claims.

use serde_json::{Map, Value, json};

use crate::claims::ClaimSet;

/// So many act one after the other at most.
const DEEPEST: usize = 3;
/// Longest issuer or subject in a chain, in bytes.
const LONGEST: usize = 255;

/// `act` of a token: who acts, and who acted before. None where nobody does. Of those who acted before nothing goes on but who
/// they are.
///
/// # Errors
/// Why there is no such token, for the event.
pub(super) fn chain(before: Option<&Value>, actor: Option<&ClaimSet>) -> Result<Option<Value>, &'static str> {
    let mut parties = Vec::new();
    if let Some(actor) = actor {
        if actor.contains_key("act") {
            // Somebody acts for the actor: who of them is responsible nobody could say.
            return Err("actor_is_acted_for");
        }
        parties.push(party(actor).ok_or("actor_without_subject")?);
    }
    let mut rest = before;
    while let Some(link) = rest {
        let link = link.as_object().ok_or("actors_malformed")?;
        parties.push(party(link).ok_or("actors_malformed")?);
        if parties.len() > DEEPEST {
            return Err("too_many_actors");
        }
        rest = link.get("act");
    }
    let nest = |inner: Option<Value>, mut outer: Map<String, Value>| {
        outer.extend(inner.map(|inner| ("act".to_owned(), inner)));
        Some(Value::Object(outer))
    };
    Ok(parties.into_iter().rev().fold(None, nest))
}

/// Issuer, if there is one, and subject.
fn party(claims: &Map<String, Value>) -> Option<Map<String, Value>> {
    let text = |name: &str| match claims.get(name) {
        None => Some(None),
        Some(value) => value.as_str().filter(|text| !text.is_empty() && text.len() <= LONGEST).map(Some),
    };
    let (issuer, subject) = (text("iss")?, text("sub")??);
    let mut party = Map::new();
    if let Some(issuer) = issuer {
        party.insert("iss".to_owned(), json!(issuer));
    }
    party.insert("sub".to_owned(), json!(subject));
    Some(party)
}

/// Whether somebody may act for the subject of a token. Where it says who may, that is somebody of the same issuer unless it
/// names another one, and everything that it says of them has to be so.
pub(super) fn may(subject: &ClaimSet, actor: Option<&ClaimSet>) -> bool {
    let Some(may) = subject.get("may_act") else { return true };
    let (Some(may), Some(actor)) = (may.as_object(), actor) else { return false };
    let issuer = may.get("iss").or_else(|| subject.get("iss"));
    may.contains_key("sub")
        && issuer == actor.get("iss")
        && may.iter().all(|(name, value)| actor.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(value: Value) -> ClaimSet {
        let Value::Object(claims) = value else { panic!("an object") };
        claims
    }

    /// OA-738: who acts is on the outside, who acted before within, three at most, and nothing else of them goes on.
    #[test]
    fn oa_738_actors_are_a_chain() {
        let actor = |name: &str| claims(json!({"iss": "i", "sub": name, "email": "x", "exp": 1}));
        assert_eq!(chain(None, None), Ok(None));
        let one = chain(None, Some(&actor("a"))).expect("a chain");
        assert_eq!(one, Some(json!({"iss": "i", "sub": "a"})));
        let two = chain(one.as_ref(), Some(&actor("b"))).expect("a chain");
        assert_eq!(two, Some(json!({"iss": "i", "sub": "b", "act": {"iss": "i", "sub": "a"}})));
        let three = chain(two.as_ref(), Some(&actor("c"))).expect("a chain");
        assert_eq!(chain(three.as_ref(), None), Ok(three.clone()), "nobody is left out");
        assert_eq!(chain(three.as_ref(), Some(&actor("d"))), Err("too_many_actors"));
        let told = json!({"sub": "z", "secret": "s", "act": {"sub": "y", "amr": ["pwd"]}});
        assert_eq!(chain(Some(&told), None), Ok(Some(json!({"sub": "z", "act": {"sub": "y"}}))));
        for bad in [json!("a"), json!({}), json!({"sub": 7}), json!({"sub": ""}), json!({"sub": "a", "act": null})] {
            assert_eq!(chain(Some(&bad), None), Err("actors_malformed"), "{bad}");
        }
        assert_eq!(chain(None, Some(&claims(json!({"iss": "i"})))), Err("actor_without_subject"));
        let acted_for = claims(json!({"iss": "i", "sub": "a", "act": {"sub": "b"}}));
        assert_eq!(chain(None, Some(&acted_for)), Err("actor_is_acted_for"));
    }

    /// OA-738: a token that says who may act for its subject lets nobody else do so.
    #[test]
    fn oa_738_may_act_is_honoured() {
        let actor = claims(json!({"iss": "i", "sub": "a", "client_id": "c"}));
        let subject = |may: Value| claims(json!({"iss": "i", "sub": "s", "may_act": may}));
        assert!(may(&claims(json!({"iss": "i", "sub": "s"})), Some(&actor)) && may(&ClaimSet::new(), None));
        for good in [json!({"sub": "a"}), json!({"iss": "i", "sub": "a"}), json!({"sub": "a", "client_id": "c"})] {
            assert!(may(&subject(good.clone()), Some(&actor)), "{good}");
            assert!(!may(&subject(good.clone()), None), "{good}: nobody says who acts");
        }
        for bad in [
            json!({"sub": "b"}),
            json!({"iss": "j", "sub": "a"}),
            json!({"iss": "i"}),
            json!({"sub": "a", "client_id": "d"}),
            json!({"sub": "a", "more": true}),
            json!({}),
            json!(["a"]),
            json!(null),
        ] {
            assert!(!may(&subject(bad.clone()), Some(&actor)), "{bad}");
        }
        let elsewhere = claims(json!({"iss": "j", "sub": "a"}));
        assert!(!may(&subject(json!({"sub": "a"})), Some(&elsewhere)), "somebody else's a");
    }
}
