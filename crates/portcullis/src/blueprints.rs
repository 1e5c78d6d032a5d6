//! The watched folder of blueprints (CO-733, CO-738).

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_idp::context::Context;
use portcullis_web::api::blueprints::Watch;
use rustix::process::{getegid, geteuid};
use tokio_util::sync::CancellationToken;

use crate::settings;

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Applies what is in the folder now.
pub(crate) async fn first_look(context: &Context) -> Watch {
    let mut watch = Watch::default();
    if let Some(folder) = &context.blueprints.folder {
        warn_about(folder);
        look(&mut watch, context).await;
    }
    watch
}

/// Looks at the folder until the process is told to stop.
pub(crate) async fn follow(context: Arc<Context>, mut watch: Watch, stop: CancellationToken) {
    while context.blueprints.folder.is_some() {
        tokio::time::sleep(EVERY).await;
        if stop.is_cancelled() {
            return;
        }
        look(&mut watch, &context).await;
    }
}

async fn look(watch: &mut Watch, context: &Context) {
    if let Err(error) = watch.look(context).await {
        tracing::warn!(%error, "cannot look after the folder of blueprints");
    }
}

/// Blueprints are applied with all rights: whoever breaks in must not be able to leave one behind (CO-738).
fn warn_about(folder: &Path) {
    let Ok(of) = folder.metadata() else {
        let is_default = |declared: &settings::Declaration| {
            declared.key == "blueprints_dir" && Path::new(declared.default) == folder
        };
        // Nobody asked for the default.
        if !settings::declarations().any(is_default) {
            tracing::warn!(folder = %folder.display(), "the folder of blueprints is not there");
        }
        return;
    };
    if is_writable(of.mode(), (of.uid(), of.gid()), (geteuid().as_raw(), getegid().as_raw())) {
        tracing::warn!(
            folder = %folder.display(),
            "this process may write the folder of blueprints: give it to another user, read-only"
        );
    }
}

/// Whether a user may write a folder with this mode and owner.
fn is_writable(mode: u32, (owner, group): (u32, u32), (user, of_user): (u32, u32)) -> bool {
    user == 0
        || (owner == user && mode & 0o200 != 0)
        || (owner != user && group == of_user && mode & 0o020 != 0)
        || (owner != user && group != of_user && mode & 0o002 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-738: a folder that the process may write is told from one that it may only read.
    #[test]
    fn co_738_a_writable_folder_is_noticed() {
        let (me, mine) = (1000, 1000);
        for (mode, owner, writable) in [
            (0o755, (me, mine), true),
            (0o555, (me, mine), false),
            (0o755, (0, 0), false),
            (0o775, (0, mine), true),
            (0o775, (0, 0), false),
            (0o777, (0, 0), true),
        ] {
            assert_eq!(is_writable(mode, owner, (me, mine)), writable, "{mode:o} {owner:?}");
        }
        assert!(is_writable(0o555, (me, mine), (0, 0)));
    }
}
