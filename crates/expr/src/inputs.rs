//! What one evaluation starts with.

use std::{net::IpAddr, sync::Arc};

use crate::{
    objects::{HttpRequest, Provider, Token, User},
    value::Value,
};

/// What one evaluation starts with. What is absent here is a name that does not exist inside (CO-230).
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The name of the policy or mapping: in tracebacks, and `app` of events it creates.
    pub name: String,
    /// Who is asked about: `request.user`, and `user` in mappings. `None` is the anonymous user in `request`.
    pub user: Option<Arc<User>>,
    /// The HTTP request, when there is one.
    pub http_request: Option<Arc<HttpRequest>>,
    /// `request.obj`: the target of a policy, the mapping, or nothing.
    pub obj: Value,
    /// `context`, in this order.
    pub context: Vec<(String, Value)>,
    /// `request.debug`: whether this is a trial.
    pub debug: bool,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// The provider that a scope mapping runs for.
    pub provider: Option<Arc<Provider>>,
    /// The token that a scope mapping runs for.
    pub token: Option<Arc<Token>>,
    /// The flow, for policies in flows: `context["flow_plan"]`.
    pub flow: Option<FlowPlan>,
}

/// The flow that a policy runs in.
#[derive(Debug, Clone, Default)]
pub struct FlowPlan {
    /// `context["flow_plan"].context`: what the flow has gathered. Changes come back in
    /// [`Outcome::flow_changes`](crate::Outcome::flow_changes).
    pub context: Vec<(String, Value)>,
    /// Whether `pending_user` may be set: nobody has authenticated yet, and the password step is still to come.
    pub may_set_pending_user: bool,
}
