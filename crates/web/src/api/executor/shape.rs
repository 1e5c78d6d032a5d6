//! Challenges in the shape that clients know (CO-533).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_idp::flow::challenge::{Challenge, Field, Identification, Shown};
use portcullis_idp::flow::{Next, Turn};
use portcullis_idp::flows::Flow;
use portcullis_idp::oauth::consent::Permission;
use serde_json::{Map, Value, json};

use crate::pages::path;

/// What a visit comes to.
pub(super) fn of(turn: &Turn) -> Value {
    match &turn.next {
        Next::To(to) => redirect(&turn.flow, "", to),
        Next::Ask(challenge) => {
            let mut object = challenge_of(challenge);
            add(&mut object, "component", challenge.component());
            add(&mut object, "flow_info", info(&turn.flow, ""));
            if !turn.problems.is_empty() {
                let mut errors: Map<String, Value> = Map::new();
                for problem in &turn.problems {
                    let list = errors.entry(problem.field.clone()).or_insert_with(|| json!([]));
                    if let Some(list) = list.as_array_mut() {
                        list.push(json!({"string": problem.text, "code": problem.code}));
                    }
                }
                add(&mut object, "response_errors", errors);
            }
            object
        }
    }
}

/// The end of a flow.
pub(super) fn redirect(flow: &Flow, application: &str, to: &str) -> Value {
    json!({"component": "xak-flow-redirect", "flow_info": info(flow, application), "to": to})
}

/// Asks whether an application may know who somebody is.
pub(super) fn consent(flow: &Flow, question: &portcullis_idp::oauth::consent::Question) -> Value {
    let permissions = |list: &[Permission]| {
        let told = |permission: &Permission| json!({"id": permission.scope, "name": permission.description});
        list.iter().map(told).collect::<Vec<_>>()
    };
    let mut object = json!({
        "component": "ak-stage-consent",
        "flow_info": info(flow, &question.application),
        "header_text": format!("Continue to {}?", question.application),
        "permissions": permissions(&question.known),
        "additional_permissions": permissions(&question.additional),
        "token": question.token,
    });
    about(&mut object, &question.username);
    if question.again {
        let error =
            json!([{"string": "Your answer came too late or twice. Please answer once more.", "code": "invalid"}]);
        add(&mut object, "response_errors", json!({"token": error}));
    }
    object
}

/// Somebody may not go on.
pub(super) fn denied(flow: &Flow, username: &str, message: &str) -> Value {
    let mut object = json!({
        "component": "ak-stage-access-denied", "flow_info": info(flow, ""), "error_message": message,
    });
    about(&mut object, username);
    object
}

/// Something broke.
pub(super) fn broken(request_id: &str) -> Value {
    json!({
        "component": "ak-stage-flow-error",
        "flow_info": info_named("Something went wrong"),
        "request_id": request_id,
    })
}

/// About a flow, in whose title the application is named.
fn info(flow: &Flow, application: &str) -> Value {
    let application = if application.is_empty() { "the application" } else { application };
    told(&flow.title.replace("%(app)s", application), &flow.background, &flow.layout)
}

fn info_named(title: &str) -> Value {
    told(title, "", "stacked")
}

fn told(title: &str, background: &str, layout: &str) -> Value {
    json!({
        "title": title,
        "background": background,
        "background_themed_urls": null,
        "cancel_url": "/flows/-/cancel/",
        "layout": layout,
    })
}

fn add(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value.into());
    }
}

/// Whom it is about. The picture is everybody's: it tells nothing about whether there is such a user (CO-311).
fn about(object: &mut Value, username: &str) {
    const PICTURE: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\"><rect width=\"64\" \
        height=\"64\" fill=\"#5b6270\"/><circle cx=\"32\" cy=\"25\" r=\"11\" fill=\"#fff\"/><path fill=\"#fff\" \
        d=\"M10 58a22 18 0 0 1 44 0z\"/></svg>";
    add(object, "pending_user", username);
    add(object, "pending_user_avatar", format!("data:image/svg+xml;base64,{}", STANDARD.encode(PICTURE)));
}

/// Clients know no null here: nothing is an empty text.
fn recovery_url(offered: bool) -> &'static str {
    if offered { path::RECOVERY } else { "" }
}

fn challenge_of(challenge: &Challenge) -> Value {
    let user = |user: &Shown, mut object: Value| {
        about(&mut object, &user.username);
        object
    };
    match challenge {
        Challenge::Identification(asked) => identification(asked),
        Challenge::Password { user: whose, recovery, allow_show_password, .. } => {
            user(whose, json!({"recovery_url": recovery_url(*recovery), "allow_show_password": allow_show_password}))
        }
        Challenge::SecondFactor { user: whose, devices, setups } => {
            let devices: Vec<_> = devices
                .iter()
                .map(|device| {
                    json!({
                        "device_class": device.class,
                        "device_uid": device.pk.to_string(),
                        "challenge": device.challenge.clone().unwrap_or_else(|| json!({})),
                        "last_used": device.last_used.map(|at| at.to_string()),
                    })
                })
                .collect();
            let setups: Vec<_> = setups
                .iter()
                .map(|setup| {
                    json!({
                        "pk": setup.pk,
                        "name": setup.name,
                        "verbose_name": setup.title,
                        "meta_model_name": setup.model,
                    })
                })
                .collect();
            user(whose, json!({"device_challenges": devices, "configuration_stages": setups}))
        }
        Challenge::Totp { user: whose, url } => user(whose, json!({"config_url": url})),
        Challenge::Static { user: whose, codes } => user(whose, json!({"codes": codes})),
        Challenge::WebAuthn { user: whose, registration } => user(whose, json!({"registration": registration})),
        Challenge::Consent { user: whose, header, token, .. } => {
            user(whose, json!({"header_text": header, "permissions": [], "additional_permissions": [], "token": token}))
        }
        Challenge::RememberMe { user: whose } => user(whose, json!({})),
        Challenge::Email => json!({}),
        Challenge::Prompt { fields, .. } => json!({"fields": fields.iter().zip(0..).map(field).collect::<Vec<_>>()}),
        Challenge::SessionEnd { user: whose, site } => user(whose, json!({"brand_name": site})),
        Challenge::TellClients { frames } => {
            let urls = frames.iter().map(|url| json!({"url": url, "provider_name": null, "binding": "redirect"}));
            json!({"logout_urls": urls.collect::<Vec<_>>()})
        }
        Challenge::Denied { user: whose, message, .. } => user(whose, json!({"error_message": message})),
    }
}

fn identification(asked: &Identification) -> Value {
    let mut object = json!({
        "user_fields": asked.user_fields,
        "password_fields": asked.password_fields,
        "allow_show_password": asked.allow_show_password,
        "flow_designation": asked.designation,
        "primary_action": "Log in",
        "show_source_labels": false,
        "sources": [],
        "enable_remember_me": asked.enable_remember_me,
        "recovery_url": recovery_url(asked.recovery),
        "passkey_challenge": asked.passkey,
        "pending_user_identifier": asked.identifier,
        "captcha_stage": null,
    });
    if let Some(application) = &asked.application {
        add(&mut object, "application_pre", application.as_str());
    }
    object
}

fn field((field, order): (&Field, i32)) -> Value {
    json!({
        "field_key": field.key,
        "label": field.label,
        "type": field.kind,
        "required": field.required,
        "placeholder": field.label,
        "initial_value": field.value,
        "order": order,
        "sub_text": "",
        "choices": null,
    })
}
