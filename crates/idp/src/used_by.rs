//! What uses an object, and what becomes of it when that is deleted (CO-532).

use portcullis_store::application::Application;
use portcullis_store::binding::Binding;
use portcullis_store::entitlement::Entitlement;

/// What becomes of the user of something that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is deleted, too.
    Cascade,
    /// Only the relation between the two goes.
    CascadeMany,
    /// It names nothing then.
    SetNull,
    /// It has its default then.
    SetDefault,
    /// It still names what is gone.
    LeftDangling,
}

impl Action {
    /// In the words of clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cascade => "cascade",
            Self::CascadeMany => "cascade_many",
            Self::SetNull => "set_null",
            Self::SetDefault => "set_default",
            Self::LeftDangling => "left_dangling",
        }
    }
}

/// Something that uses an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// First half of its kind.
    pub app: &'static str,
    /// Second half of its kind.
    pub model_name: &'static str,
    /// Key.
    pub pk: String,
    /// Name.
    pub name: String,
    /// What becomes of it.
    pub action: Action,
}

impl Use {
    /// Something that uses an object.
    #[expect(clippy::needless_pass_by_value, reason = "keys are small, and copied")]
    pub fn of(
        (app, model_name): (&'static str, &'static str),
        pk: impl ToString,
        name: impl Into<String>,
        action: Action,
    ) -> Self {
        Self { app, model_name, pk: pk.to_string(), name: name.into(), action }
    }
}

/// Bindings that use an object: what is theirs to name is set to null, what they are bound to takes them along.
pub fn bindings(bindings: &[Binding], action: Action) -> Vec<Use> {
    let kind = ("authentik_policies", "policybinding");
    bindings.iter().map(|binding| Use::of(kind, binding.pk, crate::bindings::title(binding), action)).collect()
}

/// Applications that use an object.
pub fn applications(applications: &[Application], action: Action) -> Vec<Use> {
    let kind = ("authentik_core", "application");
    applications.iter().map(|application| Use::of(kind, application.uuid, &application.name, action)).collect()
}

/// Entitlements that use an object.
pub fn entitlements(entitlements: &[Entitlement], action: Action) -> Vec<Use> {
    let kind = ("authentik_core", "applicationentitlement");
    entitlements.iter().map(|entitlement| Use::of(kind, entitlement.uuid, &entitlement.name, action)).collect()
}
