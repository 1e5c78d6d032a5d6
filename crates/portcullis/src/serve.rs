//! Everything in one process.

use crate::Failure;
use crate::settings::Settings;

pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    let _ = settings;
    Ok(())
}
