//! `portcullis apply` and `export`: blueprints by whoever has the data directory (CO section 23).

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::entropy::SystemEntropy;
use portcullis_idp::context::{Actor, Context};
use portcullis_web::api::blueprints::{Audience, Document, apply};

use crate::edge::SystemClock;
use crate::settings::Settings;
use crate::{Failure, instance, serve};

/// Applies files one after the other, beside a process that may serve the instance meanwhile.
///
/// # Errors
/// One line that names the file, the entry and what is wrong with it. The files before it are applied, of this one and of
/// those after it nothing.
pub(crate) fn run(settings: &Settings, files: &[PathBuf]) -> Result<(), Failure> {
    // All are read before the first is applied: a name that is mistyped is noticed at once.
    let read = |path: &PathBuf| {
        let text = match path.as_os_str() == "-" {
            true => std::io::read_to_string(std::io::stdin()),
            false => std::fs::read_to_string(path),
        };
        match text {
            Ok(text) => Ok((path.display().to_string(), text)),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    };
    let texts = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    serve::runtime()?.block_on(async {
        let ctx = instance::beside(settings, Arc::new(SystemClock), Arc::new(SystemEntropy)).await?;
        let done = apply_all(&ctx, texts).await;
        ctx.db.close().await;
        done
    })
}

/// Prints one blueprint of everything.
///
/// # Errors
/// One line when there is no such instance, or the database fails.
pub(crate) fn export(settings: &Settings) -> Result<(), Failure> {
    let text = serve::runtime()?.block_on(async {
        let ctx = instance::beside(settings, Arc::new(SystemClock), Arc::new(SystemEntropy)).await?;
        let text = portcullis_web::api::blueprints::export(&ctx, &Actor::system()).await;
        ctx.db.close().await;
        Ok::<_, Failure>(text?)
    })?;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

async fn apply_all(ctx: &Context, texts: Vec<(String, String)>) -> Result<(), Failure> {
    for (path, text) in texts {
        let applied = apply(ctx, &Actor::system(), &Document::of_file(&path, text), Audience::Others).await;
        let applied = applied.map_err(|refused| format!("{path}: {}", refused.with_cause()))?;
        let mut out = std::io::stdout();
        for line in applied.log.iter().filter(|line| line.level != "debug") {
            writeln!(out, "{path}: {}", line.event)?;
        }
        writeln!(out, "{path}: applied{}", if applied.warned { ", not all of it" } else { "" })?;
    }
    Ok(())
}
