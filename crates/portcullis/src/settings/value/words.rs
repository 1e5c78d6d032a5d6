//! One of a few words.

use portcullis_proxy::settings::{EmptyBasicPassword, ForwardJwt};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::Value;

/// Gives a setting one of a few words.
macro_rules! words {
    ($Type:ty { $($word:literal => $variant:ident),+ $(,)? }) => {
        impl Value for $Type {
            fn kind() -> String {
                [$(concat!("`", $word, "`")),+].join(" or ")
            }

            fn read(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn show(&self) -> String {
                match self {
                    $(Self::$variant => $word,)+
                }
                .to_owned()
            }
        }
    };
}

/// A limit that can be turned off (CO-441).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitName {
    PerNameAndAddress,
    PerAddress,
    Identifiers,
    PerName,
    Account,
    SecondFactor,
    FlowStarts,
    Api,
}

impl LimitName {
    /// As it is written.
    pub(crate) fn name(self) -> String {
        self.show()
    }
}

words!(LimitName {
    "per_name_and_address" => PerNameAndAddress,
    "per_address" => PerAddress,
    "identifiers" => Identifiers,
    "per_name" => PerName,
    "account" => Account,
    "second_factor" => SecondFactor,
    "flow_starts" => FlowStarts,
    "api" => Api,
});
words!(KeepSessions { "file" => File, "memory" => Memory });
words!(LogFormat { "auto" => Auto, "text" => Text, "json" => Json });
words!(EmptyBasicPassword { "send" => Send, "omit" => Omit });
words!(ForwardJwt { "assertion" => Assertion, "full" => Full, "off" => Off });

/// Where a stand-alone outpost keeps its sessions (PX-174).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepSessions {
    /// In a file that they survive a restart in.
    File,
    /// Nowhere else.
    Memory,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people where people look on, for machines elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which messages are logged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogLevel(Targets);

impl LogLevel {
    /// Warnings and errors only.
    pub(crate) fn quiet() -> Self {
        Self(Targets::new().with_default(LevelFilter::WARN))
    }

    /// The filter itself.
    pub(crate) fn filter(&self) -> Targets {
        self.0.clone()
    }
}

impl Value for LogLevel {
    fn kind() -> String {
        "`trace`, `debug`, `info`, `warning` or `error`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        // The wire dialect says `warning`, the filter `warn`.
        let text = text.replace("warning", "warn");
        // A word alone is a level. The filter takes any other one for a part of the program, and hides the rest.
        let is_known = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        text.split(',').all(is_known).then(|| text.parse().ok().map(Self)).flatten()
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
