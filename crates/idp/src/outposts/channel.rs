//! Channels to outposts elsewhere: who is connected, and what they are told (section 23 of the proxy specification).
//!
//! Nothing is queued for an outpost. Whoever changes something wakes the channels, and each reads on in the revocations
//! from where it was; one that is slow holds up nobody but itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use portcullis_core::channel::{Feed, Hello, Malformed, Message, PRESENT_SECONDS, REVOCATION, Revoked};
use portcullis_core::clock::Timestamp;
use portcullis_core::entropy::Entropy;
use portcullis_core::id::{OutpostId, ProviderPk, TokenId};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::revocation::Revocation;
use portcullis_store::{Conn, outpost, revocation};
use tokio::sync::watch;
use uuid::Uuid;

use crate::change::Touched;
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::revocations::{PAGE, touched};

/// Channels at a time, of all outposts and of one, whose account they are counted for: nobody else takes its places.
const MOST: usize = 2000;
const MOST_OF_ONE: usize = 100;
/// Messages that an outpost is told again; who missed more looks at everything anew.
const MOST_MISSED: i64 = 1000;
/// Characters of each text that an instance says of itself.
const LONGEST_TEXT: usize = 255;

/// The channels of this process.
#[derive(Debug)]
pub struct Channels {
    news: watch::Sender<()>,
    closed: watch::Sender<bool>,
    /// How often it was lost what outposts had been told.
    past: AtomicU64,
    present: Mutex<Present>,
    /// What the embedded outpost is called among instances.
    own: OnceLock<Uuid>,
}

#[derive(Debug, Default)]
struct Present {
    channels: HashMap<Holder, usize>,
    instances: HashMap<(OutpostId, String), Instance>,
}

/// Whom channels are counted for: an outpost, and the user whose token opened them.
type Holder = (OutpostId, Uuid);

/// A process that is an outpost, as it shows itself (PX-405).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its `instance_uuid`.
    pub uid: String,
    /// When it last said something.
    pub last_seen: Timestamp,
    /// What it said of itself.
    pub hello: Hello,
}

/// An instance with the name of the outpost that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The outpost's name.
    pub name: String,
    /// The instance.
    pub instance: Instance,
}

/// All instances that were heard of lately by this process, by name and id (PX-317).
///
/// # Errors
/// When the store fails.
pub async fn connected(ctx: &Context) -> Result<Vec<Connected>, Error> {
    let now = ctx.now();
    let found: Vec<_> = {
        let present = ctx.channels.present();
        let lately = present.instances.iter().filter(|(_, instance)| is_present(instance, now));
        lately.map(|((outpost, _), instance)| (*outpost, instance.clone())).collect()
    };
    let mut connected = Vec::with_capacity(found.len());
    if !found.is_empty() {
        let mut conn = ctx.db.read().await?;
        for (pk, instance) in found {
            if let Some(outpost) = outpost::by_pk(&mut conn, pk).await? {
                connected.push(Connected { name: outpost.name, instance });
            }
        }
    }
    connected.sort_by(|one, other| (&one.name, &one.instance.uid).cmp(&(&other.name, &other.instance.uid)));
    Ok(connected)
}

impl Default for Channels {
    fn default() -> Self {
        let (news, closed) = (watch::Sender::new(()), watch::Sender::new(false));
        Self { news, closed, past: AtomicU64::new(0), present: Mutex::default(), own: OnceLock::new() }
    }
}

impl Channels {
    /// Has every channel look for what is new. Call it after the change is committed.
    pub fn wake(&self) {
        self.news.send_replace(());
    }

    /// What outposts were told may lack something, or tell of what never came to be: every channel ends, and whoever comes
    /// back with a number that they heard looks at everything anew.
    pub(crate) fn begin_anew(&self) {
        self.past.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    fn past(&self) -> u64 {
        self.past.load(Ordering::SeqCst)
    }

    /// Hears when there may be something new. Marked as changed at first.
    pub fn follow(&self) -> watch::Receiver<()> {
        let mut news = self.news.subscribe();
        news.mark_changed();
        news
    }

    /// Closes all channels, and lets no new ones in: the process is about to end.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Hears of [`Channels::close`].
    pub fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// The instances of an outpost that were heard of lately, by id (PX-405).
    pub fn instances(&self, outpost: OutpostId, now: Timestamp) -> Vec<Instance> {
        let present = self.present();
        let of_it = present.instances.iter().filter(|((of, _), instance)| *of == outpost && is_present(instance, now));
        let mut found: Vec<_> = of_it.map(|(_, instance)| instance.clone()).collect();
        found.sort_by(|one, other| one.uid.cmp(&other.uid));
        found
    }

    /// What the embedded outpost, which has no channel, is called among instances.
    pub fn own_uid(&self, entropy: &dyn Entropy) -> String {
        self.own.get_or_init(|| entropy.uuid()).to_string()
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_present(instance: &Instance, now: Timestamp) -> bool {
    let seconds = i64::try_from(PRESENT_SECONDS).unwrap_or(i64::MAX);
    instance.last_seen.plus_seconds(seconds) >= now
}

/// A place among the channels; given back when it is dropped. What was heard of the instance is kept a little longer.
struct Place {
    ctx: Arc<Context>,
    outpost: OutpostId,
    user: Uuid,
    uid: String,
}

impl Place {
    /// None when there are too many.
    fn take(ctx: &Arc<Context>, (outpost, user): Holder, uid: String) -> Option<Self> {
        let mut present = ctx.channels.present();
        let all: usize = present.channels.values().sum();
        let of_it = present.channels.entry((outpost, user)).or_default();
        if all >= MOST || *of_it >= MOST_OF_ONE {
            return None;
        }
        *of_it += 1;
        drop(present);
        Some(Self { ctx: Arc::clone(ctx), outpost, user, uid })
    }

    /// Notes that the instance lives, and what it says of itself if it does.
    fn heard(&self, hello: Option<Hello>) {
        let (now, hello) = (self.ctx.now(), hello.map(shortened));
        let mut present = self.ctx.channels.present();
        present.instances.retain(|_, instance| is_present(instance, now));
        let key = (self.outpost, self.uid.clone());
        let of_it = present.instances.keys().filter(|(outpost, _)| *outpost == self.outpost).count();
        match (present.instances.get_mut(&key), hello) {
            (Some(instance), hello) => {
                instance.last_seen = now;
                instance.hello = hello.unwrap_or_else(|| instance.hello.clone());
            }
            // Whoever comes back under another id each time is not remembered without end.
            (None, Some(hello)) if of_it < 2 * MOST_OF_ONE => {
                let instance = Instance { uid: self.uid.clone(), last_seen: now, hello };
                present.instances.insert(key, instance);
            }
            (None, _) => {}
        }
    }
}

/// What an instance says of itself, as much of it as is worth remembering.
fn shortened(hello: Hello) -> Hello {
    let cut = |text: String| text.chars().take(LONGEST_TEXT).collect();
    Hello {
        version: cut(hello.version),
        build_hash: cut(hello.build_hash),
        uuid: cut(hello.uuid),
        golang_version: cut(hello.golang_version),
        openssl_version: cut(hello.openssl_version),
        hostname: cut(hello.hostname),
        ..hello
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.ctx.channels.present();
        if let Some(of_it) = present.channels.get_mut(&(self.outpost, self.user)) {
            *of_it = of_it.saturating_sub(1);
        }
        present.channels.retain(|_, channels| *channels > 0);
    }
}

/// Refuses those who do not speak for an outpost. Its own account does, and whoever may change it; to see it is not enough: a
/// channel tells whose sessions end, and what is said on it is taken for the outpost's word (PX-404, CO-704).
///
/// # Errors
/// [`Error::Forbidden`], [`Error::NotFound`]; or when the store fails.
pub async fn need_to_speak_for(ctx: &Context, actor: &Actor, outpost: OutpostId) -> Result<(), Error> {
    super::get(ctx, actor, outpost).await?;
    match actor.serving().is_some_and(|serving| serving.outpost == Some(outpost)) {
        true => Ok(()),
        false => actor.need_on(Verb::Change, Model::OUTPOST, &outpost),
    }
}

/// One outpost's side of a conversation: what it is answered, and what it is told.
pub struct Talk {
    place: Place,
    /// Which token it came with.
    token: Option<TokenId>,
    served: BTreeSet<ProviderPk>,
    /// The last row when the channel began, and the last one that was told.
    began: i64,
    told: i64,
    /// Which past of the channels that is in.
    past: u64,
    greeted: bool,
}

/// What there is to tell an outpost.
#[derive(Debug, Default)]
pub struct News {
    /// The messages, in order.
    pub messages: Vec<Message>,
    /// Whether it has to be looked at again who it is and what it may.
    pub look_again: bool,
    /// Whether there may be more.
    pub more: bool,
    /// Whether the channel is to end once the messages are sent: numbers do not go on from those that were told.
    pub is_over: bool,
}

impl Talk {
    /// Begins a conversation with the instance `uid` of an outpost, on behalf of `actor`; none when there are too many.
    ///
    /// # Errors
    /// [`Error::Forbidden`] and [`Error::NotFound`] for those who do not speak for the outpost (PX-404).
    pub async fn begin(
        ctx: &Arc<Context>,
        actor: &Actor,
        (user, token): (Uuid, Option<TokenId>),
        outpost: OutpostId,
        uid: String,
    ) -> Result<Option<Self>, Error> {
        need_to_speak_for(ctx, actor, outpost).await?;
        let Some(place) = Place::take(ctx, (outpost, user), uid) else { return Ok(None) };
        let past = ctx.channels.past();
        let mut conn = ctx.db.read().await?;
        // The place in the revocations first: what changes meanwhile is told.
        let began = revocation::latest(&mut conn).await?;
        let served = served(&mut conn, outpost).await?;
        drop(conn);
        Ok(Some(Self { place, token, served, began, told: began, past, greeted: false }))
    }

    /// What an outpost is answered (PX-382, PX-405). What cannot be read is answered nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn answer(&mut self, frame: &str) -> Result<Vec<Message>, Error> {
        match Message::decode(frame) {
            Ok(Message::Hello(hello)) => {
                let heard = hello.portcullis_seq;
                self.place.heard(Some(hello));
                let mut answers = vec![Message::Ack];
                if !self.greeted {
                    self.greeted = true;
                    let features = vec![REVOCATION.to_owned()];
                    answers.push(Message::Feed(Feed::Hello { features, seq: self.told }));
                    answers.extend(self.missed(heard).await?.into_iter().map(Message::Feed));
                }
                Ok(answers)
            }
            Ok(Message::Ack) => {
                self.place.heard(None);
                Ok(Vec::new())
            }
            Ok(_) => {
                self.place.heard(None);
                Ok(vec![Message::Ack])
            }
            Err(error @ (Malformed::NoObject | Malformed::NoInstruction)) => {
                tracing::debug!(outpost = %self.place.outpost, %error, "an outpost sent something that is no message");
                Ok(Vec::new())
            }
        }
    }

    /// What happened between the last message that the outpost has heard and the last one that was told here.
    async fn missed(&self, heard: Option<i64>) -> Result<Vec<Feed>, Error> {
        let everything = || vec![Feed::Reset { seq: None, provider: None, user: None }];
        if heard.is_some() && self.place.ctx.channels.past() > 0 {
            // A number of another past can be one of this one, too.
            return Ok(everything());
        }
        let mut conn = self.place.ctx.db.read().await?;
        let from = heard.unwrap_or(self.began);
        if from > revocation::latest(&mut conn).await?
            || from.saturating_add(1) < revocation::earliest(&mut conn).await?
        {
            return Ok(everything());
        }
        let rows = revocation::since(&mut conn, from, MOST_MISSED + 1).await?;
        let missed: Vec<_> = rows.into_iter().filter(|row| row.seq <= self.told).collect();
        if i64::try_from(missed.len()).unwrap_or(i64::MAX) > MOST_MISSED {
            return Ok(everything());
        }
        Ok(missed.iter().filter_map(|row| feed(row, &self.served)).collect())
    }

    /// What is new since the last call.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn news(&mut self) -> Result<News, Error> {
        let over = || News { is_over: true, ..News::default() };
        let ctx = &self.place.ctx;
        if ctx.channels.past() != self.past {
            return Ok(over());
        }
        let mut conn = ctx.db.read().await?;
        let rows = revocation::since(&mut conn, self.told, PAGE).await?;
        let Some(last) = rows.last() else {
            if self.told > revocation::latest(&mut conn).await? {
                // A copy of the database has taken its place that lacks what came last.
                ctx.channels.begin_anew();
                return Ok(over());
            }
            return Ok(News::default());
        };
        let mut news = News { more: i64::try_from(rows.len()).is_ok_and(|found| found >= PAGE), ..News::default() };
        self.told = last.seq;
        let all: Vec<_> = rows.iter().map(|row| (row, touched(row))).collect();
        let configured = |touched: &Touched| matches!(touched, Touched::Provider(_) | Touched::Configuration);
        // An outpost is told of what it serves and of what it served.
        let mut concerned = self.served.clone();
        if all.iter().any(|(_, touched)| configured(touched)) {
            self.served = served(&mut conn, self.place.outpost).await?;
            concerned.extend(&self.served);
        }
        drop(conn);
        let mut trigger = false;
        for (row, touched) in &all {
            news.look_again |= self.is_about_itself(touched);
            trigger |= match touched {
                Touched::Provider(pk) => concerned.contains(pk),
                Touched::Configuration => true,
                _ => false,
            };
            if let Touched::Session(sid) = touched {
                news.messages.push(Message::SessionEnd(sid.clone()));
            }
            if self.greeted {
                news.messages.extend(feed(row, &concerned).map(Message::Feed));
            }
        }
        if trigger {
            news.messages.push(Message::TriggerUpdate);
        }
        Ok(news)
    }

    /// Whether something may have changed about who the outpost is and what it may.
    fn is_about_itself(&self, touched: &Touched) -> bool {
        match touched {
            Touched::User(uuid) | Touched::Gone(uuid) => *uuid == self.place.user,
            Touched::Token(token) => Some(*token) == self.token,
            // Who came with an access token and not with an API token may have lost that one.
            Touched::AccessToken(_) => self.token.is_none(),
            Touched::Everyone | Touched::Configuration => true,
            Touched::Evicted(_) | Touched::Session(_) | Touched::SessionAt(..) | Touched::Provider(_) => false,
            Touched::Embedded(_) => false,
        }
    }
}

async fn served(conn: &mut Conn, outpost: OutpostId) -> Result<BTreeSet<ProviderPk>, Error> {
    Ok(outpost::provider_keys(conn, outpost).await?.into_iter().collect())
}

/// What an outpost that these providers concern is told of a row, if anything.
fn feed(row: &Revocation, concerned: &BTreeSet<ProviderPk>) -> Option<Feed> {
    let seq = row.seq;
    let revoke =
        |provider: Option<ProviderPk>, subject| Feed::Revoke { seq, provider: provider.map(|pk| pk.0), subject };
    let reset = |provider, user| Feed::Reset { seq: Some(seq), provider, user };
    match touched(row) {
        Touched::User(uuid) => Some(reset(None, Some(uuid.to_string()))),
        Touched::Gone(uuid) => Some(revoke(None, Revoked::UserUuid(uuid.to_string()))),
        Touched::AccessToken(jti) => Some(revoke(None, Revoked::Jti(jti))),
        Touched::Session(sid) => Some(revoke(None, Revoked::Sid(sid))),
        Touched::SessionAt(sid, provider) if concerned.contains(&provider) => {
            Some(revoke(Some(provider), Revoked::Sid(sid)))
        }
        Touched::Provider(provider) if concerned.contains(&provider) => Some(reset(Some(provider.0), None)),
        Touched::Everyone => Some(reset(None, None)),
        // Access tokens that rest on an app password, and its owner, are told of by themselves; nobody else shows tokens
        // to outposts.
        Touched::Token(_) | Touched::Evicted(_) | Touched::Configuration => None,
        Touched::SessionAt(..) | Touched::Provider(_) | Touched::Embedded(_) => None,
    }
}

/// Whether a version comes before another one, by the numbers that they begin with. What is no version does not
/// (PX-405).
pub fn is_older(version: &str, than: &str) -> bool {
    match (numbers(version), numbers(than)) {
        (Some(version), Some(than)) => version < than,
        _ => false,
    }
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let version = version.trim_start_matches('v');
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut numbers = version.get(..end)?.trim_end_matches('.').split('.').map(|number| number.parse().ok());
    let first = numbers.next()??;
    Some([first, numbers.next().flatten().unwrap_or(0), numbers.next().flatten().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(touched: &str, value: &str, provider: Option<i32>) -> Revocation {
        let provider = provider.map(ProviderPk);
        Revocation { seq: 9, created: Timestamp(0), kind: touched.to_owned(), value: value.to_owned(), provider }
    }

    /// PX-409: an outpost hears what to end and what to prove anew, and of the providers of others nothing.
    #[test]
    fn px_409_an_outpost_hears_what_concerns_it() {
        let serves = BTreeSet::from([ProviderPk(7)]);
        let heard = |row: &Revocation| feed(row, &serves);
        let user = Uuid::from_u128(5).to_string();
        let revoke = |provider, subject| Some(Feed::Revoke { seq: 9, provider, subject });
        let reset = |provider, user| Some(Feed::Reset { seq: Some(9), provider, user });
        assert_eq!(heard(&row("gone", &user, None)), revoke(None, Revoked::UserUuid(user.clone())));
        assert_eq!(heard(&row("user", &user, None)), reset(None, Some(user.clone())));
        assert_eq!(heard(&row("session", "s", None)), revoke(None, Revoked::Sid("s".to_owned())));
        assert_eq!(heard(&row("session", "s", Some(7))), revoke(Some(7), Revoked::Sid("s".to_owned())));
        assert_eq!(heard(&row("session", "s", Some(8))), None);
        assert_eq!(heard(&row("access_token", "j", None)), revoke(None, Revoked::Jti("j".to_owned())));
        assert_eq!(heard(&row("provider", "", Some(7))), reset(Some(7), None));
        assert_eq!(heard(&row("provider", "", Some(8))), None);
        assert_eq!(heard(&row("something new", "", None)), reset(None, None));
        assert_eq!(heard(&row("token", &user, None)), None);
        assert_eq!(heard(&row("configuration", "", None)), None);
    }

    /// PX-405, PX-602: versions are compared by their numbers; what is none is not outdated.
    #[test]
    fn px_405_versions_are_compared_by_number() {
        assert!(is_older("0.2.9", "0.3.0") && is_older("v0.3", "0.3.1") && is_older("0.9.0-rc1", "0.10.0"));
        assert!(!is_older("0.3.0", "0.3.0") && !is_older("2026.5.1", "0.3.0"));
        assert!(!is_older("", "0.3.0") && !is_older("main", "0.3.0") && !is_older("99999999999999999999999", "1"));
    }
}
