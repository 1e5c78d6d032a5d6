//! What can go wrong in a service.

use std::sync::Arc;

use portcullis_core::keys::OpenError;
use portcullis_core::username::exceeds;
use portcullis_store::StoreError;

use crate::password::PasswordError;

/// What went wrong in a service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request contradicts a rule; nothing was changed.
    #[error("invalid: {0:?}")]
    Invalid(Problems),
    /// There is no such object, or it is not for this actor to see. Holds the kind: `User`, `Group`, `Token`.
    #[error("No {0} matches the given query.")]
    NotFound(&'static str),
    /// The actor may not do this.
    #[error("permission denied")]
    Forbidden,
    /// Too many failures.
    #[error("too many failed attempts")]
    Throttled {
        /// Whole seconds until another attempt makes sense.
        retry_after_seconds: u32,
    },
    /// Too much is asked for at the same time.
    #[error("busy")]
    Busy,
    /// Another answer to the same question came first.
    #[error("answered already")]
    Answered,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// What was to be written together with other things was not.
    #[error("{0}")]
    NotWritten(#[source] Arc<StoreError>),
    /// A sealed value could not be opened.
    #[error("{place}: {source}")]
    Sealed {
        /// Table, row and column.
        place: String,
        /// Why.
        source: OpenError,
    },
    /// A password could not be hashed.
    #[error(transparent)]
    Hash(PasswordError),
    /// Something that was stored cannot be read.
    #[error("stored value cannot be read: {0}")]
    Unreadable(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NothingVisible => Self::Forbidden,
            other => Self::Store(other),
        }
    }
}

impl Error {
    /// Why the store could not do now what it may do in a while, if that is so.
    pub fn passing(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.passing(),
            Self::NotWritten(error) => error.passing(),
            _ => None,
        }
    }

    /// One message about one field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(Problems::of(field, message))
    }

    /// One message about the request as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self::field("non_field_errors", message)
    }

    /// Says which unique field is taken, in the words clients expect (CO-523): when the store's `column` is
    /// taken, the error is `message` on `field`.
    pub fn taken(error: StoreError, column: &str, field: &str, message: &str) -> Self {
        match error {
            StoreError::Taken(taken) if taken == column => Self::field(field, message),
            other => Self::Store(other),
        }
    }
}

/// Messages by field, in the order they were found (CO-523).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<(String, Vec<String>)>);

impl Problems {
    /// One message.
    pub fn of(field: &str, message: impl Into<String>) -> Self {
        let mut problems = Self::default();
        problems.add(field, message);
        problems
    }

    /// Adds a message about a field.
    pub fn add(&mut self, field: &str, message: impl Into<String>) {
        match self.0.iter_mut().find(|(known, _)| known == field) {
            Some((_, messages)) => messages.push(message.into()),
            None => self.0.push((field.to_owned(), vec![message.into()])),
        }
    }

    /// Adds the same message about each of these fields.
    pub fn add_each(&mut self, fields: &[&str], message: &str) {
        fields.iter().for_each(|field| self.add(field, message));
    }

    /// Adds a message if a text has more than 2048 characters, more than anybody writes where no other limit is.
    pub fn limit(&mut self, field: &str, text: &str) {
        const MOST: usize = 2048;
        if exceeds(text, MOST) {
            self.add(field, format!("Ensure this field has no more than {MOST} characters."));
        }
    }

    /// The same for a text by which objects are found or sorted. It has no more than 2048 bytes either: PostgreSQL's indexes
    /// hold no more than some 2700.
    pub fn limit_indexed(&mut self, field: &str, text: &str) {
        const MOST: usize = 2048;
        self.limit(field, text);
        if text.len() > MOST && !exceeds(text, MOST) {
            self.add(field, format!("Ensure this field has no more than {MOST} bytes."));
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this field has one.
    pub fn has(&self, field: &str) -> bool {
        self.0.iter().any(|(known, _)| known == field)
    }

    /// Fields with their messages.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(field, messages)| (field.as_str(), messages.as_slice()))
    }

    /// An error if there is any problem.
    ///
    /// # Errors
    /// [`Error::Invalid`] with these problems.
    pub fn check(self) -> Result<(), Error> {
        if self.is_empty() { Ok(()) } else { Err(Error::Invalid(self)) }
    }
}
