//! The data plane: one request from its origin to the upstream and back.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use moka::policy::EvictionPolicy;
use portcullis_core::causes::causes;
use portcullis_core::clock::{Clock, Timestamp};
use portcullis_core::entropy::Entropy;
use portcullis_core::keys::{HmacKey, process_key};
use portcullis_core::negotiate;
use portcullis_core::origin::Origin;
use portcullis_core::path::{Dialect, Reserved};
use tokio::time::Instant;

use crate::access_log::Seen;
use crate::answer::{self, Asker, BehindAnother, Refusal};
use crate::application::Application;
use crate::applications::Applications;
use crate::body::Body;
use crate::control::ControlPlane;
use crate::forward::{Forwarder, Watch};
use crate::http1;
use crate::identity::Identity;
use crate::limiter::FailureLimiter;
use crate::listener::{Handled, Plane};
use crate::live::LiveSessions;
use crate::meters::Meters;
use crate::metrics::Kind;
use crate::path_class::{Endpoint, PathClass};
use crate::permit::Permit;
use crate::recent_digests::RecentDigests;
use crate::settings::ProxySettings;
use crate::tls::Certificates;

/// Between two looks at how long certificates last (PX-304).
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The most used login states that are remembered.
const MOST_STATES: u64 = 100_000;

/// Everything that requests to applications go through.
pub struct DataPlane {
    pub(crate) control: Arc<dyn ControlPlane>,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) applications: Applications,
    certificates: Arc<Certificates>,
    pub(crate) forwarder: Forwarder,
    pub(crate) limiter: FailureLimiter,
    pub(crate) live: LiveSessions,
    pub(crate) meters: Meters,
    pub(crate) process_key: HmacKey,
    pub(crate) recent_digests: RecentDigests,
    pub(crate) used_states: moka::sync::Cache<[u8; 16], ()>,
}

/// What of a request decides about it; its body is not part of that (PX-083).
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) origin: &'a Origin,
    pub(crate) now: Timestamp,
}

impl DataPlane {
    /// A data plane with the configuration that the control plane has now. Changes are taken over by
    /// [`DataPlane::follow_configuration`].
    pub fn new(
        control: Arc<dyn ControlPlane>,
        forwarder: Forwarder,
        settings: ProxySettings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let settings = Arc::new(settings);
        let (applications, certificates) = {
            let present = control.configuration();
            let present = present.borrow();
            let certificates = Arc::<Certificates>::default();
            certificates.update(&present, clock.now());
            (Applications::new(Arc::clone(&settings), &present), certificates)
        };
        Self {
            applications,
            certificates,
            limiter: FailureLimiter::new(&settings),
            live: LiveSessions::default(),
            meters: Meters::new(),
            process_key: process_key(&*entropy),
            recent_digests: RecentDigests::new(&*entropy),
            used_states: moka::sync::Cache::builder()
                .max_capacity(MOST_STATES)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(settings.state_ttl)
                .build(),
            control,
            settings,
            clock,
            entropy,
            forwarder,
        }
    }

    /// What carries requests on; its tunnels are waited for at shutdown.
    pub fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    /// What HTTPS listeners show.
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// Keeps the data plane up to date: takes over each new configuration (PX-008), and ends what outlives
    /// its session. Runs beside the requests; returns when the control plane is gone.
    pub async fn follow_configuration(&self) {
        tokio::select! {
            () = self.take_over() => {}
            () = self.watch_sessions() => {}
            () = self.watch_certificates() => {}
        }
    }

    async fn take_over(&self) {
        let mut configuration = self.control.configuration();
        configuration.mark_changed();
        while configuration.changed().await.is_ok() {
            let present = Arc::clone(&configuration.borrow_and_update());
            self.applications.update(&present);
            self.certificates.update(&present, self.clock.now());
            self.control.came_into_force(&present);
            self.report_bad_lines();
            self.report_shadowed();
        }
    }

    /// Warns daily of certificates that end soon.
    async fn watch_certificates(&self) {
        loop {
            tokio::time::sleep(DAY).await;
            self.certificates.warn(self.clock.now());
        }
    }

    /// Answers a request to one of the applications, or leaves it as it is (PX-058).
    pub async fn handle(&self, request: &mut Request<Body>, origin: &Origin) -> Handled {
        let application = match self.applications.find(origin) {
            Some(application) => application,
            None => match Box::pin(self.unmatched(request.method(), request.uri(), request.headers(), origin)).await {
                ControlFlow::Continue(application) => application,
                ControlFlow::Break(handled) => return handled,
            },
        };
        let class = PathClass::of(
            &application,
            request.method(),
            request.uri(),
            request.headers(),
            request.body().is_end_stream(),
            origin,
        );
        if class == PathClass::Elsewhere {
            request.extensions_mut().insert(BehindAnother);
            return Handled::NotOurs;
        }
        let asker = Asker::of(request.headers());
        let method = request.method().clone();
        let mut notes = Notes { began: Instant::now(), stale_cookie: false, identity: None, answered: None };
        let outcome = match class {
            PathClass::Portcullis(Endpoint::ForwardAuth(dialect)) => {
                let (method, uri, headers) = (request.method(), request.uri(), request.headers());
                let question = Visit { method, uri, headers, origin, now: self.clock.now() };
                let answer = self.ask(dialect, &application, question, &mut notes).await;
                http1::give_back(std::mem::take(request.headers_mut()));
                answer
            }
            _ => self.pass(&application, class, request, origin, &mut notes).await,
        };
        let response = match outcome {
            Ok(response) => response,
            Err(refusal) => {
                log(&refusal, &application, origin);
                if let Refusal::Unsendable(fault) = &refusal {
                    self.report_identity(&application, *fault, notes.identity.as_deref(), origin.client);
                }
                let mut response = answer::refuse(&refusal, &application, &asker, origin);
                if notes.stale_cookie && answer::clears_stale_cookie(&refusal) {
                    let cookies = &application.cookies;
                    answer::set_cookie(&mut response, cookies.scope.clear(&cookies.session));
                }
                response
            }
        };
        let user = notes.identity.as_ref().map_or(&application.nobody, |identity| &identity.name);
        let kind = match class {
            PathClass::Portcullis(Endpoint::Ping) => Kind::Ping,
            PathClass::Portcullis(Endpoint::Static) => Kind::Static,
            _ => Kind::App,
        };
        application.durations.request(&method, notes.answered.unwrap_or_else(Instant::now) - notes.began, kind);
        let seen = Seen { provider: Arc::clone(&application.name), user: Arc::clone(user) };
        Handled::Answered(response, Some(seen))
    }

    /// The application that a request is about whose host is none's, or what becomes of the request (PX-058).
    async fn unmatched(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        origin: &Origin,
    ) -> ControlFlow<Handled, Arc<Application>> {
        let began = Instant::now();
        let (answer, kind) = match Reserved::of(uri.path(), "") {
            Some(Reserved::Ping) => (self.ping(uri).await, Kind::Ping),
            Some(Reserved::Static) => (answer::empty(StatusCode::NOT_FOUND), Kind::Static),
            // Only nginx asks under a name of its own (PX-054).
            Some(Reserved::ForwardAuth(dialect)) => {
                let asked = (dialect == Dialect::Nginx).then(|| self.asked_about(origin, headers));
                match asked.flatten() {
                    Some(application) => return ControlFlow::Continue(application),
                    None if !self.control.is_ready() => (answer::not_yet(origin), Kind::App),
                    None => (answer::no_application(origin), Kind::App),
                }
            }
            _ if !self.control.is_ready() => (answer::not_yet(origin), Kind::App),
            _ => {
                // Where somebody wonders why the sign-in page answers in an application's place.
                tracing::debug!(host = origin.host, "no provider has this host: the control plane answers");
                return ControlFlow::Break(Handled::NotOurs);
            }
        };
        self.applications.others().request(method, began.elapsed(), kind);
        ControlFlow::Break(Handled::Answered(answer, None))
    }

    /// One request through an application: who sends it, whether they may, what goes on, what comes back.
    async fn pass(
        &self,
        application: &Arc<Application>,
        class: PathClass,
        request: &mut Request<Body>,
        origin: &Origin,
        notes: &mut Notes,
    ) -> Result<Response<Body>, Refusal> {
        let now = self.clock.now();
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let visit = Visit { method, uri, headers, origin, now };
        if let PathClass::Portcullis(endpoint) = class {
            return Box::pin(self.answer(endpoint, application, &visit)).await;
        }
        if class == PathClass::Refused {
            return Err(Refusal::MethodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        let known = self.authenticate(application, class, headers, origin, now);
        let (caller, waited) = watched(known).await;
        notes.stale_cookie = caller.stale_cookie;
        let permit = Permit::decide(application, class, caller, || self.login_required(application, &visit))?;
        notes.identity = permit.identity().cloned();
        let mut plan = permit.plan()?;
        let watch = permit.identity().map(|identity| move |lasting| self.live.hold(application, identity, lasting));
        plan.session = watch.as_ref().map(|watch| watch as &Watch<'_>);
        match permit.rewrite(request) {
            0 => {}
            stripped => self.meters.stripped_headers.increment(stripped),
        }
        // To be recognised without a question takes no time that would be worth a look at the clock.
        let (method, began) = (request.method().clone(), if waited { Instant::now() } else { notes.began });
        let forwarded = self.forwarder.forward(request, origin, plan).await;
        let answered = *notes.answered.insert(Instant::now());
        permit.durations().upstream(&method, answered - began);
        let mut response = forwarded.map_err(|error| {
            let to_superuser = permit.identity().is_some_and(|identity| identity.is_superuser);
            Refusal::NotForwarded { error, to_superuser }
        })?;
        permit.finish(&mut response, now);
        Ok(response)
    }

    async fn answer(
        &self,
        endpoint: Endpoint,
        application: &Application,
        visit: &Visit<'_>,
    ) -> Result<Response<Body>, Refusal> {
        match endpoint {
            Endpoint::Start => self.start(application, visit),
            Endpoint::Callback => self.callback(application, visit).await,
            Endpoint::SignOut => self.sign_out(application, visit).await,
            Endpoint::Ping => Ok(self.ping(visit.uri).await),
            Endpoint::Static | Endpoint::ForwardAuth(_) | Endpoint::Nothing => Err(Refusal::NotFound),
        }
    }

    /// Where somebody unknown is sent (PX-130 … PX-133).
    pub(crate) fn login_required(&self, application: &Application, visit: &Visit<'_>) -> Refusal {
        if self.settings.negotiate_unauthenticated && !negotiate::shows_to_a_person(visit.method, visit.headers) {
            let referer = visit.headers.get(http::header::REFERER).and_then(|value| value.to_str().ok());
            let target = referer.and_then(|referer| application.rule.accept(referer));
            let target = target.unwrap_or_else(|| application.rule.home());
            return Refusal::LoginRequiredOfProgram(application.start_url(&target));
        }
        let asked = visit.uri.path_and_query().map_or("/", |all| all.as_str());
        let target = application.rule.of_request(asked).unwrap_or_else(|| application.rule.home());
        Refusal::LoginRequired(application.start_url(&target))
    }

    /// 204 while the process lives; with `?ready`, 503 unless sessions can be read (PX-315).
    async fn ping(&self, uri: &Uri) -> Response<Body> {
        if asks_ready(uri) {
            if !self.control.is_ready() {
                return answer::empty(StatusCode::SERVICE_UNAVAILABLE);
            }
            let nothing = self.control.sessions().by_digest(portcullis_core::id::ProviderPk(0), [0; 32]);
            if self.asked(&self.meters.calls.sessions, nothing).await.is_err() {
                return answer::empty(StatusCode::SERVICE_UNAVAILABLE);
            }
        }
        answer::empty(StatusCode::NO_CONTENT)
    }
}

/// Whether a `ping` asks for more than that the process lives (PX-315).
pub fn asks_ready(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|part| part.starts_with("ready")))
}

impl Plane for DataPlane {
    fn handle(&self, request: &mut Request<Body>, origin: &Origin) -> impl Future<Output = Handled> + Send {
        Self::handle(self, request, origin)
    }
}

/// What a future gives, and whether it had to be waited for.
async fn watched<T>(future: impl Future<Output = T>) -> (T, bool) {
    let (mut future, mut waited) = (pin!(future), false);
    let given = std::future::poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        waited |= polled.is_pending();
        polled
    });
    (given.await, waited)
}

/// When a request came, and what is learnt on the way and needed for the answer, whatever it will be.
pub(crate) struct Notes {
    pub(crate) began: Instant,
    pub(crate) stale_cookie: bool,
    pub(crate) identity: Option<Arc<Identity>>,
    /// When the upstream answered, or did not.
    pub(crate) answered: Option<Instant>,
}

fn log(refusal: &Refusal, application: &Application, origin: &Origin) {
    let (provider, id) = (application.provider.name.as_str(), origin.request_id.as_str());
    match refusal {
        Refusal::NotForwarded { error, .. } => {
            tracing::warn!(
                provider.name = provider,
                request.id = id,
                error = %causes(error),
                "{refusal}"
            );
        }
        Refusal::Unavailable | Refusal::LoginUnavailable | Refusal::Unsendable(_) => {
            tracing::warn!(provider.name = provider, request.id = id, "{refusal}");
        }
        _ => tracing::debug!(provider.name = provider, request.id = id, "{refusal}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(all(feature = "fuzz", not(test)))]
pub(crate) mod tests;
