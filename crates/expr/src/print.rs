//! What an expression prints, line by line (CO-223).

use std::borrow::Cow;

use monty_types::{MontyException, PrintWriterCallback};

/// Longest printed line that is kept.
const LINE: usize = 4 << 10;

/// Collects what is printed, line by line.
#[derive(Default)]
pub(crate) struct Print {
    pub(crate) lines: Vec<String>,
    open: String,
    count: usize,
}

impl PrintWriterCallback for Print {
    fn stdout_write(&mut self, output: Cow<'_, str>) -> Result<(), MontyException> {
        for char in output.chars() {
            self.stdout_push(char)?;
        }
        Ok(())
    }

    fn stdout_push(&mut self, end: char) -> Result<(), MontyException> {
        if end != '\n' {
            if self.open.len() < LINE {
                self.open.push(end);
            }
        } else {
            let line = std::mem::take(&mut self.open);
            // More than are ever kept need not be gathered.
            if self.count < 1000 {
                self.lines.push(line);
                self.count += 1;
            }
        }
        Ok(())
    }
}
