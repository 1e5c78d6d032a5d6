//! How old the fetched keys of sources are, as metrics (OA-668). Written for each answer, from what all processes share.

use std::fmt::Write;

use portcullis_core::clock::Timestamp;
use portcullis_idp::sources::jwks::{Fetches, fetches};
use portcullis_idp::{Context, Error};

use crate::connected::escaped;

/// Seconds since the keys of each source were last fetched, in the text format of Prometheus. Sources whose keys are
/// pasted, or were never fetched, have no sample.
///
/// # Errors
/// When the store fails.
pub(crate) async fn page(context: &Context) -> Result<String, Error> {
    Ok(text(&fetches(context).await?, context.now()))
}

fn text(fetches: &[Fetches], now: Timestamp) -> String {
    let mut page = String::new();
    if fetches.is_empty() {
        return page;
    }
    page.push_str("# TYPE portcullis_oauth_source_keys_age_seconds gauge\n");
    for Fetches { slug, fetched_at } in fetches {
        let age = now.seconds().saturating_sub(fetched_at.seconds()).max(0);
        let _ = writeln!(page, "portcullis_oauth_source_keys_age_seconds{{source=\"{}\"}} {age}", escaped(slug));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-668: the age of each source's keys is told by the name of the source.
    #[test]
    fn oa_668_the_age_of_keys_is_told() {
        let at = Timestamp::from_seconds;
        assert_eq!(text(&[], at(7)), "");
        let fetched = |slug: &str, seconds| Fetches { slug: slug.to_owned(), fetched_at: at(seconds) };
        let page = text(&[fetched("cluster", 100), fetched("ci", 190)], at(200));
        let lines: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"portcullis_oauth_source_keys_age_seconds{source="cluster"} 100"#,
                r#"portcullis_oauth_source_keys_age_seconds{source="ci"} 10"#,
            ]
        );
    }
}
