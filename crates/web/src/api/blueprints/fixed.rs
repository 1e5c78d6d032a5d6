//! Flows, stages and their order: there since the first start, and to be tuned at most (CO-306, CO-730).

use std::collections::BTreeMap;

use portcullis_idp::Change;
use portcullis_idp::flow::stages;
use portcullis_idp::flows::{self, Tuned};
use serde_json::{Map, Value};

use super::matching::holds;
use super::model::Model;
use super::write::{Refusal, parsed, refused};
use crate::api::body::Body;

/// Orders of stages that were named so far, by flow: they must be those of the fixed steps.
#[derive(Clone, Default)]
pub(super) struct Orders(BTreeMap<String, Vec<(i64, i64)>>);

/// What flows are called and look like may be set, and what becomes of whom they refuse; everything else is fixed.
pub(super) async fn flow(change: &mut Change<'_>, found: &Value, body: &Body) -> Result<Value, Refusal> {
    let mut tuned = Tuned::default();
    for (field, value) in body.iter() {
        let stored = found.get(field).ok_or_else(|| Refusal::Unknown(field.to_owned()))?;
        match (field, value) {
            ("name", Value::String(text)) => tuned.name = Some(text.clone()),
            ("title", Value::String(text)) => tuned.title = Some(text.clone()),
            ("background", Value::String(text)) => tuned.background = Some(text.clone()),
            ("layout", Value::String(text)) => tuned.layout = Some(text.clone()),
            ("denied_action", Value::String(text)) => tuned.denied_action = Some(text.clone()),
            ("policy_engine_mode", Value::String(text)) => tuned.policy_engine_mode = Some(text.clone()),
            // A blueprint does not know whether that is done where it is applied (CO-300).
            ("authentication", Value::String(text))
                if found.get("slug").and_then(Value::as_str) == Some(flows::INITIAL_SETUP)
                    && flows::AUTHENTICATIONS_OF_SETUP.contains(&text.as_str()) => {}
            _ if holds(stored, value) => {}
            _ => return Err(refused(field, "This cannot be set in this release.")),
        }
    }
    let pk = Model::Flow.key(found);
    flows::tune_in(change, parsed(&pk)?, tuned).await?;
    Ok(pk)
}

pub(super) async fn stage(change: &mut Change<'_>, found: &Value, body: &Body) -> Result<Value, Refusal> {
    let mut given = Map::new();
    for (field, value) in body.iter() {
        let stored = found.get(field).ok_or_else(|| Refusal::Unknown(field.to_owned()))?;
        if matches!(field, "name" | "pk") && !holds(stored, value) {
            return Err(refused(field, "This is fixed."));
        }
        given.insert(field.to_owned(), value.clone());
    }
    stages::set_in(change, found["name"].as_str().unwrap_or_default(), &given).await?;
    Ok(Model::StageBinding.key(found))
}

/// A step of a flow is where it is, or the blueprint means another flow than ours.
pub(super) async fn stage_binding(
    change: &mut Change<'_>,
    found: Option<&Value>,
    body: &mut Body,
    orders: &mut Orders,
) -> Result<Value, Refusal> {
    let order = body.take("order").and_then(|order| order.as_i64());
    for field in ["evaluate_on_plan", "re_evaluate_policies", "invalid_response_action", "policy_engine_mode"] {
        body.take(field);
    }
    let (target, stage) = (body.take("target"), body.take("stage"));
    if let Some((field, _)) = body.iter().next() {
        return Err(Refusal::Unknown(field.to_owned()));
    }
    let is = |one: &Value, field: &str, wanted: &Value| one.get(field).is_some_and(|stored| holds(stored, wanted));
    let found = match (found.cloned(), target, stage) {
        (Some(found), ..) => Some(found),
        (None, Some(target), Some(stage)) => {
            let all = Model::StageBinding.objects(change, |_| None).await?;
            all.into_iter().find(|one| is(one, "target", &target) && is(one, "stage", &stage))
        }
        _ => None,
    };
    let fixed = || refused("stage", "The steps of flows and their order are fixed; this is not one of them.");
    let found = found.ok_or_else(fixed)?;
    if let Some(order) = order {
        let index = found.get("index").and_then(Value::as_i64).unwrap_or_default();
        let named = orders.0.entry(found.get("target").map(Value::to_string).unwrap_or_default()).or_default();
        if named.iter().any(|(other, before)| (other.cmp(&order)) != (before.cmp(&index))) {
            return Err(fixed());
        }
        named.push((order, index));
    }
    Ok(Model::StageBinding.key(&found))
}
