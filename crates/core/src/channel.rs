//! What a control plane and a stand-alone outpost say to each other over their websocket (section 22 of the proxy
//! specification): one JSON object a text frame, `{"instruction": int, "args": object}`.
//!
//! [`Message::encode`] writes exactly what strict peers read; [`Message::decode`] is forgiving: keys that are missing
//! or of another type count as empty, surplus keys and unknown instructions are passed over (PX-381, PX-405).

use serde::Serialize;
use serde_json::{Map, Value, json};

/// How often an outpost says HELLO, in seconds (PX-382).
pub const HELLO_SECONDS: u64 = 10;

/// How long the control plane takes a silent outpost for connected, in seconds: one and a half intervals (PX-405).
pub const PRESENT_SECONDS: u64 = 15;

/// After how many seconds without a message an outpost takes the channel for broken (PX-385).
pub const SILENCE_SECONDS: u64 = 30;

/// The longest message that either side reads, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// The feature that a control plane announces in [`Feed::Hello`] when it has a revocation feed.
pub const REVOCATION: &str = "revocation";

/// What a message is about, by its number on the wire (PX-381).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Received; never answered.
    Ack,
    /// An outpost says who it is.
    Hello,
    /// The outpost's configuration changed: fetch it again.
    TriggerUpdate,
    /// Whatever a kind of outpost has of its own; here the revocation feed.
    ProviderSpecific,
    /// A session at the identity provider ended.
    SessionEnd,
}

impl Instruction {
    /// Its number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ack => 0,
            Self::Hello => 1,
            Self::TriggerUpdate => 2,
            Self::ProviderSpecific => 3,
            Self::SessionEnd => 4,
        }
    }

    /// The instruction with this number.
    pub fn of_code(code: u64) -> Option<Self> {
        [Self::Ack, Self::Hello, Self::TriggerUpdate, Self::ProviderSpecific, Self::SessionEnd]
            .into_iter()
            .find(|instruction| u64::from(instruction.code()) == code)
    }
}

/// One frame of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Received; never answered.
    Ack,
    /// An outpost says who it is, and that it lives.
    Hello(Hello),
    /// The outpost's configuration changed: fetch it again.
    TriggerUpdate,
    /// The session with this public id (`sid`) ended. An empty id means none (PX-195).
    SessionEnd(String),
    /// A message of the revocation feed.
    Feed(Feed),
    /// Something that a later version may know. It is answered like any other message.
    Unknown,
}

/// Why a frame is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not a JSON object.
    #[error("the frame holds no JSON object")]
    NoObject,
    /// No number that says what it is about.
    #[error("the frame has no instruction")]
    NoInstruction,
}

/// Who an outpost is (PX-383). These keys and types and no others, but for `portcullisSeq`, are on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The outpost's version; a valid PEP 440 version if it is one of ours.
    pub version: String,
    /// The commit that it was built from, or empty.
    pub build_hash: String,
    /// Its `instance_uuid`: random, one per process.
    pub uuid: String,
    /// The compiler's version.
    pub golang_version: String,
    /// Whether it uses OpenSSL.
    pub openssl_enabled: bool,
    /// Which OpenSSL, or empty.
    pub openssl_version: String,
    /// Whether its cryptography is restricted to what FIPS allows.
    pub fips_enabled: bool,
    /// The machine's name.
    pub hostname: String,
    /// The last `seq` that it has heard of the revocation feed; absent if it has heard none (PX-409).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portcullis_seq: Option<i64>,
}

impl Hello {
    fn read(args: &Map<String, Value>) -> Self {
        let (text, flag) = (|key: &str| text(args, key), |key: &str| args.get(key) == Some(&Value::Bool(true)));
        Self {
            version: text("version"),
            build_hash: text("buildHash"),
            uuid: text("uuid"),
            golang_version: text("golangVersion"),
            openssl_enabled: flag("opensslEnabled"),
            openssl_version: text("opensslVersion"),
            fips_enabled: flag("fipsEnabled"),
            hostname: text("hostname"),
            portcullis_seq: args.get("portcullisSeq").and_then(Value::as_i64),
        }
    }
}

/// The revocation feed (PX-409). `seq` grows with every message that has one, not necessarily by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// What the control plane can do, and how far its feed has come. Sent after its first ACK, before anything else of
    /// the feed. An outpost that was connected before, and hears another feature set, has lost what the old one promised.
    Hello {
        /// `["revocation"]` when there is a feed.
        features: Vec<String>,
        /// The last `seq` there is. What an outpost missed follows, with its own numbers up to this one.
        seq: i64,
    },
    /// Whatever rests on `subject` has ended: sessions and cached identities with it are dropped (PX-195, PX-198).
    Revoke {
        /// Its number.
        seq: i64,
        /// The only provider that it concerns, or all.
        provider: Option<i32>,
        /// What was revoked.
        subject: Revoked,
    },
    /// Cached identities are dropped, and sessions proven anew by introspection before their next use (PX-196): those
    /// of `provider` and `user` if these are given, else all of them.
    Reset {
        /// Its number; none when the feed cannot say what was missed.
        seq: Option<i64>,
        /// The only provider that it concerns, or all.
        provider: Option<i32>,
        /// The only user that it concerns (`ak_proxy.user_uuid`), or all.
        user: Option<String>,
    },
    /// Something that a later version may know.
    Unknown,
}

/// What is revoked, by the claim that sessions are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// A session at the identity provider.
    Sid(String),
    /// A subject, at the message's provider.
    Sub(String),
    /// An access token.
    Jti(String),
    /// A user, by `ak_proxy.user_uuid`.
    UserUuid(String),
}

impl Revoked {
    fn read(args: &Map<String, Value>) -> Option<Self> {
        let value = |key: &str| Some(text(args, key)).filter(|value| !value.is_empty());
        let session_or_subject = value("sid").map(Self::Sid).or_else(|| value("sub").map(Self::Sub));
        session_or_subject.or_else(|| value("jti").map(Self::Jti)).or_else(|| value("user_uuid").map(Self::UserUuid))
    }

    fn pair(&self) -> (&'static str, &str) {
        match self {
            Self::Sid(value) => ("sid", value),
            Self::Sub(value) => ("sub", value),
            Self::Jti(value) => ("jti", value),
            Self::UserUuid(value) => ("user_uuid", value),
        }
    }
}

impl Feed {
    fn args(&self) -> Value {
        match self {
            Self::Hello { features, seq } => {
                json!({ "sub_type": "portcullis.hello", "features": features, "seq": seq })
            }
            Self::Revoke { seq, provider, subject } => {
                let (key, value) = subject.pair();
                json!({ "sub_type": "portcullis.revoke", "seq": seq, "provider": provider, key: value })
            }
            Self::Reset { seq, provider, user } => {
                let mut args = Map::from_iter([("sub_type".to_owned(), json!("portcullis.reset"))]);
                seq.map(|seq| args.insert("seq".to_owned(), json!(seq)));
                provider.map(|provider| args.insert("provider".to_owned(), json!(provider)));
                user.as_ref().map(|user| args.insert("user_uuid".to_owned(), json!(user)));
                Value::Object(args)
            }
            Self::Unknown => json!({}),
        }
    }

    fn read(args: &Map<String, Value>) -> Self {
        let seq = args.get("seq").and_then(Value::as_i64);
        let provider = args.get("provider").and_then(Value::as_i64).and_then(|pk| i32::try_from(pk).ok());
        match text(args, "sub_type").as_str() {
            "portcullis.hello" => {
                let features = args.get("features").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let features = features.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                Self::Hello { features, seq: seq.unwrap_or_default() }
            }
            // What cannot be understood of a revocation may concern everybody.
            "portcullis.revoke" => match (seq, Revoked::read(args)) {
                (Some(seq), Some(subject)) => Self::Revoke { seq, provider, subject },
                (seq, _) => Self::Reset { seq, provider: None, user: None },
            },
            "portcullis.reset" => {
                let user = Some(text(args, "user_uuid")).filter(|user| !user.is_empty());
                Self::Reset { seq, provider, user }
            }
            _ => Self::Unknown,
        }
    }
}

impl From<Feed> for Message {
    fn from(feed: Feed) -> Self {
        Self::Feed(feed)
    }
}

impl Message {
    /// The frame's text.
    pub fn encode(&self) -> String {
        let (instruction, args) = match self {
            Self::Ack | Self::Unknown => (Instruction::Ack, json!({})),
            Self::Hello(hello) => (Instruction::Hello, json!(hello)),
            Self::TriggerUpdate => (Instruction::TriggerUpdate, json!({})),
            Self::SessionEnd(sid) => {
                (Instruction::SessionEnd, json!({ "type": "event.session.end", "session_id": sid }))
            }
            Self::Feed(feed) => (Instruction::ProviderSpecific, feed.args()),
        };
        json!({ "instruction": instruction.code(), "args": args }).to_string()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no object with an instruction. `args` may be missing or anything.
    pub fn decode(text_of_frame: &str) -> Result<Self, Malformed> {
        let Ok(Value::Object(frame)) = serde_json::from_str(text_of_frame) else { return Err(Malformed::NoObject) };
        let code = frame.get("instruction").ok_or(Malformed::NoInstruction)?;
        if !code.is_number() {
            return Err(Malformed::NoInstruction);
        }
        let none = Map::new();
        let args = frame.get("args").and_then(Value::as_object).unwrap_or(&none);
        Ok(match code.as_u64().and_then(Instruction::of_code) {
            Some(Instruction::Ack) => Self::Ack,
            Some(Instruction::Hello) => Self::Hello(Hello::read(args)),
            Some(Instruction::TriggerUpdate) => Self::TriggerUpdate,
            Some(Instruction::ProviderSpecific) => Self::Feed(Feed::read(args)),
            Some(Instruction::SessionEnd) => Self::SessionEnd(text(args, "session_id")),
            None => Self::Unknown,
        })
    }
}

fn text(args: &Map<String, Value>, key: &str) -> String {
    args.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge() -> Hello {
        Hello {
            version: "0.3.0".to_owned(),
            uuid: "0f8f2b1e-6f0d-4a53-9d5e-3f3b3f0d8c11".to_owned(),
            golang_version: "rust 1.90".to_owned(),
            hostname: "edge-1".to_owned(),
            ..Hello::default()
        }
    }

    fn same_json(left: &str, right: &str) {
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(read(left), read(right));
    }

    /// PX-383: HELLO has exactly the keys and JSON types of the specification, and `portcullisSeq` once there is one.
    #[test]
    fn px_383_hello_has_exactly_the_keys_and_types() {
        let line = r#"{"instruction":1,"args":{"version":"0.3.0","buildHash":"","uuid":"0f8f2b1e-6f0d-4a53-9d5e-3f3b3f0d8c11","golangVersion":"rust 1.90","opensslEnabled":false,"opensslVersion":"","fipsEnabled":false,"hostname":"edge-1"}}"#;
        same_json(&Message::Hello(edge()).encode(), line);
        assert_eq!(Message::decode(line), Ok(Message::Hello(edge())));
        let again = Message::Hello(Hello { portcullis_seq: Some(41), ..edge() });
        assert!(again.encode().contains(r#""portcullisSeq":41"#));
        assert_eq!(Message::decode(&again.encode()), Ok(again));
    }

    /// PX-381: `args` is always an object, and the lines of the specification are read and written.
    #[test]
    fn px_381_the_frames_of_the_specification() {
        let ended = "9b74c9897bac770ffc029102a200c5de".to_owned();
        let lines = [
            (r#"{"instruction":0,"args":{}}"#, Message::Ack),
            (r#"{"instruction":2,"args":{}}"#, Message::TriggerUpdate),
            (
                r#"{"instruction":4,"args":{"type":"event.session.end","session_id":"9b74c9897bac770ffc029102a200c5de"}}"#,
                Message::SessionEnd(ended),
            ),
        ];
        for (line, message) in lines {
            same_json(&message.encode(), line);
            assert_eq!(Message::decode(line), Ok(message));
        }
    }

    /// PX-409: the messages of the feed are read and written.
    #[test]
    fn px_409_the_feed() {
        let revoke = |provider, subject| Feed::Revoke { seq: 8, provider, subject };
        let messages = [
            (
                r#"{"sub_type":"portcullis.hello","features":["revocation"],"seq":7}"#,
                Feed::Hello { features: vec![REVOCATION.to_owned()], seq: 7 },
            ),
            (
                r#"{"sub_type":"portcullis.revoke","seq":8,"provider":7,"sub":"u"}"#,
                revoke(Some(7), Revoked::Sub("u".to_owned())),
            ),
            (
                r#"{"sub_type":"portcullis.revoke","seq":8,"provider":null,"sid":"s"}"#,
                revoke(None, Revoked::Sid("s".to_owned())),
            ),
            (
                r#"{"sub_type":"portcullis.revoke","seq":8,"provider":null,"jti":"j"}"#,
                revoke(None, Revoked::Jti("j".to_owned())),
            ),
            (
                r#"{"sub_type":"portcullis.revoke","seq":8,"provider":null,"user_uuid":"u"}"#,
                revoke(None, Revoked::UserUuid("u".to_owned())),
            ),
            (r#"{"sub_type":"portcullis.reset"}"#, Feed::Reset { seq: None, provider: None, user: None }),
            (
                r#"{"sub_type":"portcullis.reset","seq":9,"provider":7}"#,
                Feed::Reset { seq: Some(9), provider: Some(7), user: None },
            ),
            (
                r#"{"sub_type":"portcullis.reset","seq":9,"user_uuid":"u"}"#,
                Feed::Reset { seq: Some(9), provider: None, user: Some("u".to_owned()) },
            ),
        ];
        for (args, feed) in messages {
            let line = format!(r#"{{"instruction":3,"args":{args}}}"#);
            same_json(&Message::Feed(feed.clone()).encode(), &line);
            assert_eq!(Message::decode(&line), Ok(Message::Feed(feed)));
        }
    }

    /// PX-409: a revocation that names nothing known makes everybody look again, rather than nobody.
    #[test]
    fn px_409_a_revocation_that_is_not_understood_concerns_everybody() {
        let line = r#"{"instruction":3,"args":{"sub_type":"portcullis.revoke","seq":8,"provider":7,"device":"d"}}"#;
        let everybody = Feed::Reset { seq: Some(8), provider: None, user: None };
        assert_eq!(Message::decode(line), Ok(Message::Feed(everybody)));
    }

    /// PX-405: missing and ill-typed keys count as empty, unknown instructions are none of ours.
    #[test]
    fn px_405_what_is_missing_is_tolerated() {
        let sparse = r#"{"instruction":1,"args":{"version":3,"hostname":"edge-1","opensslEnabled":"yes","new":[]}}"#;
        let hello = Hello { hostname: "edge-1".to_owned(), ..Hello::default() };
        assert_eq!(Message::decode(sparse), Ok(Message::Hello(hello)));
        for args in ["", r#","args":null"#, r#","args":[]"#] {
            let frame = format!(r#"{{"instruction":1{args}}}"#);
            assert_eq!(Message::decode(&frame), Ok(Message::Hello(Hello::default())));
        }
        assert_eq!(Message::decode(r#"{"instruction":5,"args":{}}"#), Ok(Message::Unknown));
        assert_eq!(Message::decode(r#"{"instruction":-1}"#), Ok(Message::Unknown));
        assert_eq!(Message::decode(r#"{"instruction":3,"args":{"sub_type":"x"}}"#), Ok(Message::Feed(Feed::Unknown)));
        assert_eq!(Message::decode(r#"{"args":{}}"#), Err(Malformed::NoInstruction));
        assert_eq!(Message::decode(r#"{"instruction":"1"}"#), Err(Malformed::NoInstruction));
        assert_eq!(Message::decode("[]"), Err(Malformed::NoObject));
        assert_eq!(Message::decode("{"), Err(Malformed::NoObject));
    }
}
