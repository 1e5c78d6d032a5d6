use std::os::unix::fs::PermissionsExt;

use portcullis_core::claims::{Claims, ProxyClaims};
use portcullis_core::clock::ManualClock;
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::keys::sha256;
use portcullis_core::outpost::{Grant, Source};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
const TOKEN: &str = "the outpost's token, sixty characters long or thereabouts";

/// A session of a provider under a value, of a subject in a session of the control plane.
pub(in crate::remote) fn session(provider: i32, value: &str, sub: &str, sid: &str) -> SessionRecord {
    let provider = ProviderPk(provider);
    let claims = Claims {
        sub: sub.to_owned(),
        sid: sid.to_owned(),
        ak_proxy: ProxyClaims { user_uuid: format!("uuid-of-{sub}"), ..ProxyClaims::default() },
        ..Claims::default()
    };
    SessionRecord {
        provider,
        digest: sha256(value.as_bytes()),
        salt: [7; 32],
        source: Source::Code,
        fingerprint: None,
        expires: NOW.plus_seconds(3600),
        grant: Grant {
            raw_token: "raw-token-of-a-session".to_owned(),
            access_token: "access-token-of-a-session".to_owned(),
            upstream_token: None,
            statement: None,
            expires: NOW.plus_seconds(3600),
            bearings: Bearings {
                user: claims.ak_proxy.user_uuid.clone(),
                sid: sid.to_owned(),
                access_token: format!("jti-of-{value}"),
                ..Bearings::default()
            },
            built_at: 0,
            logout_hint: Some("hint".to_owned()),
            claims,
        },
    }
}

fn key(record: &SessionRecord) -> Key {
    (record.provider, record.digest)
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

fn in_memory() -> Sessions {
    Sessions::in_memory(TOKEN, clock(), Arc::new(SystemEntropy))
}

fn in_file(path: &Path, token: &str) -> Sessions {
    Sessions::in_file(path, token, clock(), Arc::new(SystemEntropy)).unwrap()
}

/// Keeps a session as one that was proven just now.
async fn keep(sessions: &Sessions, mut record: SessionRecord) -> SessionRecord {
    record.grant.built_at = sessions.epochs.present();
    sessions.put(&record).await.unwrap();
    record
}

/// PX-174: sessions survive a restart in a file that only their owner can open, and that says nothing without the token.
#[tokio::test]
async fn px_174_sessions_survive_a_restart_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions");
    let (kept, ended) = (session(7, "one", "ada", "s1"), session(7, "two", "bob", "s2"));
    {
        let sessions = in_file(&path, TOKEN);
        keep(&sessions, kept.clone()).await;
        keep(&sessions, ended.clone()).await;
        sessions.end(key(&ended)).await.unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("token-of-a-session") && !text.contains("uuid-of-ada"), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let again = in_file(&path, TOKEN);
    let found = again.by_digest(key(&kept)).unwrap();
    assert_eq!(found.grant.claims, kept.grant.claims);
    assert_eq!(found.grant.access_token, kept.grant.access_token);
    assert_eq!((found.source, found.expires, found.salt), (kept.source, kept.expires, kept.salt));
    assert!(again.by_digest(key(&ended)).is_none());
    drop(again);
    assert!(in_file(&path, "another token").is_empty());
}

/// PX-196, PX-198: after a restart nobody knows what was named meanwhile or before: no session is believed until it is
/// proven, time of grace or not.
#[tokio::test]
async fn px_196_after_a_restart_sessions_are_not_believed_unproven() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions");
    {
        let sessions = in_file(&path, TOKEN);
        let record = keep(&sessions, session(7, "one", "ada", "s1")).await;
        sessions.bump(Subject::User("uuid-of-ada"));
        assert_eq!(sessions.standing(&record), Standing::Doubtful);
    }
    let again = in_file(&path, TOKEN);
    let found = again.by_digest(key(&session(7, "one", "ada", "s1"))).unwrap();
    assert_eq!(again.standing(&found), Standing::Doubtful);
    again.proven(&found, again.epochs.present(), again.named.present());
    assert_eq!(again.standing(&again.by_digest(key(&found)).unwrap()), Standing::Proven);
    again.doubt_everything();
    assert_eq!(again.standing(&again.by_digest(key(&found)).unwrap()), Standing::Unknown, "now it may be believed");
}

/// PX-198: what is told of any user concerns those of whom the subject alone is known, and nobody else.
#[tokio::test]
async fn px_198_unknown_users_are_looked_at_again() {
    let sessions = in_memory();
    let hashed = "9b".repeat(32);
    let mut unknown = session(7, "one", &hashed, "");
    unknown.grant.bearings.user = alias_of(ProviderPk(7), &hashed);
    let (unknown, known) = (keep(&sessions, unknown).await, keep(&sessions, session(7, "two", "ada", "s")).await);
    assert_eq!(sessions.standing(&unknown), Standing::Proven);
    sessions.bump(Subject::UnknownUsers);
    assert_eq!((sessions.standing(&unknown), sessions.standing(&known)), (Standing::Doubtful, Standing::Proven));
}

/// PX-174: a process that was cut off in the middle of a line loses that line and no other.
#[tokio::test]
async fn px_174_a_line_that_was_cut_off_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions");
    let record = keep(&in_file(&path, TOKEN), session(7, "one", "ada", "s1")).await;
    let whole = std::fs::read_to_string(&path).unwrap();
    for odd in ["put 7 ab", "nonsense\n", "put 7 zz zz\n", "end x\n", "\n", "put 7"] {
        std::fs::write(&path, format!("{odd}\n{whole}{odd}")).unwrap();
        assert!(in_file(&path, TOKEN).by_digest(key(&record)).is_some(), "{odd:?}");
    }
    std::fs::write(&path, &whole[..whole.len() - 2]).unwrap();
    assert!(in_file(&path, TOKEN).is_empty());
}

/// PX-174, PX-176: the file is copied without what means nothing any more.
#[tokio::test]
async fn px_176_the_file_does_not_grow_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions");
    let sessions = in_file(&path, TOKEN);
    let kept = keep(&sessions, session(7, "kept", "ada", "s")).await;
    for number in 0..20 {
        let record = keep(&sessions, session(7, &format!("value {number}"), "ada", "s")).await;
        sessions.end(key(&record)).await.unwrap();
    }
    drop(sessions);
    let before = std::fs::read_to_string(&path).unwrap().lines().count();
    assert!(in_file(&path, TOKEN).by_digest(key(&kept)).is_some());
    assert_eq!((before, std::fs::read_to_string(&path).unwrap().lines().count()), (41, 1));
}

/// PX-100, PX-171: one session for one credential; a value is good for its provider alone.
#[tokio::test]
async fn px_100_a_credential_has_one_session() {
    let sessions = in_memory();
    let with = |value: &str| SessionRecord {
        fingerprint: Some([1; 32]),
        source: Source::Basic,
        ..session(7, value, "ada", "")
    };
    let (first, second) = (keep(&sessions, with("one")).await, keep(&sessions, with("two")).await);
    assert!(sessions.by_digest(key(&first)).is_none());
    assert_eq!(sessions.by_fingerprint(ProviderPk(7), [1; 32]).unwrap().digest, second.digest);
    assert!(sessions.by_fingerprint(ProviderPk(8), [1; 32]).is_none());
    assert!(sessions.by_digest((ProviderPk(8), second.digest)).is_none());
    assert_ne!(sessions.digest(ProviderPk(7), "v"), sessions.digest(ProviderPk(8), "v"));
    sessions.end(key(&second)).await.unwrap();
    assert!(sessions.by_fingerprint(ProviderPk(7), [1; 32]).is_none());
}

/// PX-190, PX-191, PX-512: a user's sessions end at every provider, also where only the subject tells that it is they.
#[tokio::test]
async fn px_191_all_sessions_of_a_user_end() {
    let sessions = in_memory();
    let hashed = "9b".repeat(32);
    let mut foreign = session(9, "three", &hashed, "");
    foreign.grant.bearings.user = alias_of(ProviderPk(9), &hashed);
    let (one, two) = (session(7, "one", &hashed, "s1"), session(8, "two", "ada", "s2"));
    let mut two = two;
    two.grant.bearings.user.clone_from(&one.grant.bearings.user);
    let stranger = session(9, "four", "ada", "s3");
    for record in [&one, &two, &foreign, &stranger] {
        keep(&sessions, record.clone()).await;
    }
    sessions.end_of_user(&one.grant.bearings.user, None).await.unwrap();
    for gone in [&one, &two, &foreign] {
        assert!(sessions.by_digest(key(gone)).is_none());
    }
    assert!(sessions.by_digest(key(&stranger)).is_some(), "the same subject at another provider is somebody else");
}

/// PX-195, PX-387, PX-518: the sessions of one sign-in end in all providers; an empty id matches nothing.
#[tokio::test]
async fn px_195_a_session_end_ends_what_came_of_it() {
    let sessions = in_memory();
    let (one, two) = (keep(&sessions, session(7, "one", "ada", "s")).await, session(8, "two", "ada", "s"));
    keep(&sessions, two.clone()).await;
    let without = keep(&sessions, session(7, "three", "bob", "")).await;
    sessions.end_of_sid("", None).await.unwrap();
    assert_eq!(sessions.len(), 3);
    sessions.end_of_sid("s", Some(8)).await.unwrap();
    assert!(sessions.by_digest(key(&one)).is_some() && sessions.by_digest(key(&two)).is_none());
    sessions.end_of_sid("s", None).await.unwrap();
    assert!(sessions.by_digest(key(&one)).is_none() && sessions.by_digest(key(&without)).is_some());
    sessions.end_of_token("jti-of-three", None).await.unwrap();
    assert!(sessions.is_empty());
}

/// PX-196, PX-198: what was named as changed is doubtful, what was merely not heard of is unknown, until it is proven.
#[tokio::test]
async fn px_196_sessions_have_to_be_proven_after_a_change_or_a_gap() {
    let sessions = in_memory();
    let record = keep(&sessions, session(7, "one", "ada", "s")).await;
    let standing = || sessions.standing(&sessions.by_digest(key(&record)).unwrap());
    let prove = || sessions.proven(&record, sessions.epochs.present(), sessions.named.present());
    assert_eq!(standing(), Standing::Proven);
    sessions.doubt_everything();
    assert_eq!(standing(), Standing::Unknown);
    prove();
    assert_eq!(standing(), Standing::Proven);
    for subject in [
        Subject::User("uuid-of-ada"),
        Subject::Provider(7),
        Subject::Credential("jti-of-one"),
        Subject::Session("s"),
        Subject::Everyone,
    ] {
        sessions.bump(subject);
        assert_eq!(standing(), Standing::Doubtful, "{subject:?}");
        prove();
        assert_eq!(standing(), Standing::Proven, "{subject:?}");
    }
    // A change while the control plane was looking.
    let early = sessions.epochs.present();
    sessions.bump(Subject::User("uuid-of-ada"));
    let mut late = record.clone();
    late.grant.built_at = early;
    sessions.put(&late).await.unwrap();
    assert_eq!(standing(), Standing::Doubtful);
}

/// PX-176: sessions whose time is over are removed; beyond the bound those of the oldest credentials go first.
#[tokio::test]
async fn px_176_sessions_are_bounded_in_number_and_time() {
    let mut sessions = in_memory();
    sessions.most = 2;
    let basic = |value: &str| SessionRecord {
        source: Source::Basic,
        fingerprint: Some(sha256(value.as_bytes())),
        ..session(7, value, "ada", "")
    };
    let login = keep(&sessions, session(7, "login", "ada", "s")).await;
    let old = keep(&sessions, basic("old")).await;
    keep(&sessions, session(7, "another login", "bob", "t")).await;
    assert_eq!(sessions.len(), 2);
    assert!(sessions.by_digest(key(&old)).is_none() && sessions.by_digest(key(&login)).is_some());

    let clock = clock();
    sessions.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    clock.advance_seconds(3600);
    assert!(sessions.by_digest(key(&login)).is_none(), "at its end it is over, removed or not (PX-173)");
    sessions.sweep().await.unwrap();
    assert!(sessions.is_empty());
}

/// PX-221: names of headers that were added once are remembered for their provider, restarts included.
#[tokio::test]
async fn px_221_names_of_added_headers_are_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions");
    let mut record = session(7, "one", "ada", "s");
    let attributes = json!({"additionalHeaders": {"X-Wiki-Role": "editor"}});
    record.grant.claims.ak_proxy.user_attributes = attributes.as_object().cloned().unwrap();
    let sessions = in_file(&path, TOKEN);
    keep(&sessions, record.clone()).await;
    sessions.end(key(&record)).await.unwrap();
    drop(sessions);
    let again = in_file(&path, TOKEN);
    assert_eq!(again.header_names(ProviderPk(7)), ["x-wiki-role"]);
    assert!(again.header_names(ProviderPk(8)).is_empty());
}
