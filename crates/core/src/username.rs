//! What a user may be called (CO-030 … CO-032).

use unicode_normalization::UnicodeNormalization;

/// Most characters of a user name.
pub const LONGEST: usize = 150;
/// Most characters of what somebody signs in with: a user name or an e-mail address.
pub const LONGEST_IDENTIFIER: usize = 254;

/// Whether a text has more than `most` characters. However long it is, it is not read any further.
pub fn exceeds(text: &str, most: usize) -> bool {
    text.chars().nth(most).is_some()
}

/// The form in which two names are the same: NFKC, without case (CO-030). What a stranger sends is not folded
/// before it is known to be short.
pub fn fold(name: &str) -> String {
    // Upper and then lower case of each letter approximates case folding: `ß` and `ẞ` both become `ss`,
    // and a final sigma is like any other.
    name.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect()
}

/// Why a name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// No characters at all.
    #[error("This field may not be blank.")]
    Blank,
    /// More than 150 characters.
    #[error("Ensure this field has no more than 150 characters.")]
    Long,
    /// A character that strict generated clients refuse to read (CO-031).
    #[error("Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ characters.")]
    Characters,
    /// A name with a meaning of its own (CO-032).
    #[error("This username is reserved.")]
    Reserved,
}

/// Checks the name of an ordinary user (CO-031, CO-032).
///
/// # Errors
/// [`UsernameError`] says what is wrong with it.
pub fn check(name: &str) -> Result<(), UsernameError> {
    if name.is_empty() {
        return Err(UsernameError::Blank);
    }
    if exceeds(name, LONGEST) {
        return Err(UsernameError::Long);
    }
    let folded = fold(name);
    if ["goauthentik.io/", "ak-outpost-"].iter().any(|start| folded.starts_with(start))
        || ["anonymoususer", "authentik:system"].contains(&folded.as_str())
    {
        return Err(UsernameError::Reserved);
    }
    if !name.chars().all(is_word) {
        return Err(UsernameError::Characters);
    }
    Ok(())
}

/// A name for an account that is made automatically: other characters become `-` (CO-031).
pub fn replaced(name: &str) -> String {
    name.chars().map(|c| if is_word(c) { c } else { '-' }).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_.@+-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-030: names that differ only in case or compatibility form are the same name.
    #[test]
    fn co_030_names_fold_by_case_and_form() {
        for (left, right) in
            [("Ada", "aDA"), ("straße", "STRASSE"), ("ａｄａ", "ada"), ("ΣΑΣ", "σας"), ("é", "e\u{301}")]
        {
            assert_eq!(fold(left), fold(right), "{left} {right}");
        }
        assert_ne!(fold("ada"), fold("bob"));
    }

    /// CO-031, CO-032: unusual characters, long names and reserved names are refused.
    #[test]
    fn co_031_names_are_checked() {
        for good in ["ada", "Ada.Lovelace+x@example.com", "jürgen_1", "李-4"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["ada lovelace", "a/b", "a:b", "tab\t"] {
            assert_eq!(check(bad), Err(UsernameError::Characters), "{bad}");
        }
        for reserved in ["goauthentik.io/token", "AK-outpost-1", "anonymousUser", "authentik:system"] {
            assert_eq!(check(reserved), Err(UsernameError::Reserved), "{reserved}");
        }
        assert_eq!(check(""), Err(UsernameError::Blank));
        assert_eq!(check(&"a".repeat(151)), Err(UsernameError::Long));
        assert_eq!(replaced("a/b c"), "a-b-c");
    }
}
