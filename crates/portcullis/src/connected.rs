//! Outposts elsewhere, as metrics of this process (PX-317).
//!
//! Written for each answer rather than kept: instances come and go under ids of their own, and none is to stay behind.

use std::fmt::Write;

use portcullis_idp::outposts::channel::{Connected, connected};
use portcullis_idp::{Context, Error};

/// Which instances are connected to this process and when they were last heard of, in the text format of Prometheus.
///
/// # Errors
/// When the store fails.
pub(crate) async fn page(context: &Context) -> Result<String, Error> {
    Ok(text(&connected(context).await?))
}

fn text(connected: &[Connected]) -> String {
    let mut page = String::new();
    if connected.is_empty() {
        return page;
    }
    page.push_str("# TYPE authentik_outposts_connected gauge\n");
    for Connected { name, instance } in connected {
        let (name, uid) = (escaped(name), escaped(&instance.uid));
        let labels = format!(r#"tenant="public",outpost="{name}",uid="{uid}",expected="1""#);
        let _ = writeln!(page, "authentik_outposts_connected{{{labels}}} 1");
    }
    page.push_str("# TYPE authentik_outposts_last_update gauge\n");
    for Connected { name, instance } in connected {
        let (name, uid, version) = (escaped(name), escaped(&instance.uid), escaped(&instance.hello.version));
        let labels = format!(r#"tenant="public",outpost="{name}",uid="{uid}",version="{version}""#);
        let _ = writeln!(page, "authentik_outposts_last_update{{{labels}}} {}", instance.last_seen.seconds());
    }
    page
}

/// A label's value. What an outpost says of itself is cut to a sensible length.
pub(crate) fn escaped(value: &str) -> String {
    let short = value.chars().take(100);
    short.fold(String::new(), |mut text, c| {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::channel::Hello;
    use portcullis_core::clock::Timestamp;
    use portcullis_idp::outposts::channel::Instance;

    /// PX-317, PX-318: each connected instance has its two samples, whatever it calls itself.
    #[test]
    fn px_317_connected_outposts_are_metrics() {
        assert_eq!(text(&[]), "");
        let hello = Hello { version: "1\"}\n".to_owned(), ..Hello::default() };
        let instance = Instance { uid: "one".to_owned(), last_seen: Timestamp::from_seconds(7), hello };
        let page = text(&[Connected { name: "edge".to_owned(), instance }]);
        let lines: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"authentik_outposts_connected{tenant="public",outpost="edge",uid="one",expected="1"} 1"#,
                r#"authentik_outposts_last_update{tenant="public",outpost="edge",uid="one",version="1\"}\n"} 7"#,
            ]
        );
    }
}
