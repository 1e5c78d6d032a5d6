//! Query parameters: page, order, search, filters (CO-524 … CO-526).

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use portcullis_core::clock::Timestamp;
use portcullis_idp::list::{Slice, search_terms};
use portcullis_idp::settings::{PageSizes, Settings};
use portcullis_idp::{Context, Error, Problems};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::answer::ApiError;

const LONGEST_SEARCH: usize = 1024;
const MOST_TERMS: usize = 50;

/// The query of a request. Reading a malformed filter is noted; [`Params::finish`] then refuses the request.
#[derive(Debug, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
    pages: PageSizes,
    problems: Problems,
}

impl FromRequestParts<Arc<Context>> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        let mut conn = ctx.db.read().await.map_err(Error::from)?;
        let pages = Settings::load(&mut conn).await?.pages;
        Ok(Self { pages, ..Self::of(parts.uri.query().unwrap_or_default()) })
    }
}

impl Params {
    /// Reads a query; pages have their usual lengths.
    pub fn of(query: &str) -> Self {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mut params = Self { pairs, ..Self::default() };
        let (wrong, right) = params.pairs.drain(..).partition(|(_, value): &(String, String)| value.contains('\0'));
        params.pairs = right;
        for (name, _) in wrong {
            params.problem(&name, "Null characters are not allowed.");
        }
        params
    }

    /// The last value of a parameter; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone()).filter(|v| !v.is_empty())
    }

    /// Whether a parameter is there and does not say no.
    pub fn asks(&self, name: &str) -> bool {
        let last = self.pairs.iter().rev().find(|(key, _)| key == name);
        last.is_some_and(|(_, value)| !matches!(value.as_str(), "false" | "False" | "0"))
    }

    /// All values of a repeatable parameter.
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.pairs.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, v)| v.clone()).collect()
    }

    /// A boolean in one of its six spellings.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.text(name)?.as_str() {
            "true" | "True" | "1" => Some(true),
            "false" | "False" | "0" => Some(false),
            _ => self.bad(name, "Must be a valid boolean."),
        }
    }

    /// One of a few words.
    pub fn choice(&mut self, name: &str, choices: &[&str]) -> Option<String> {
        let text = self.text(name)?;
        if choices.contains(&text.as_str()) { Some(text) } else { self.no_choice(name, &text) }
    }

    /// Some of a few words.
    pub fn choices(&mut self, name: &str, choices: &[&str]) -> Vec<String> {
        let texts = self.texts(name);
        for text in texts.iter().filter(|text| !choices.contains(&text.as_str())) {
            self.no_choice::<()>(name, text);
        }
        texts
    }

    fn no_choice<T>(&mut self, name: &str, text: &str) -> Option<T> {
        self.bad(name, &format!("Select a valid choice. {text} is not one of the available choices."))
    }

    /// An integer.
    pub fn integer(&mut self, name: &str) -> Option<i32> {
        let text = self.text(name)?;
        text.parse().ok().or_else(|| self.bad(name, "Enter a number."))
    }

    /// Integers of a repeatable parameter.
    pub fn integers(&mut self, name: &str) -> Vec<i32> {
        self.texts(name)
            .iter()
            .filter_map(|text| text.parse().ok().or_else(|| self.bad(name, "Enter a number.")))
            .collect()
    }

    /// A UUID, as one of our typed ids.
    pub fn uuid<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().ok().or_else(|| self.bad(name, "Enter a valid UUID."))
    }

    /// UUIDs of a repeatable parameter.
    pub fn uuids<T: FromStr>(&mut self, name: &str) -> Vec<T> {
        let texts = self.texts(name);
        texts.iter().filter_map(|text| text.parse().ok().or_else(|| self.bad(name, "Enter a valid UUID."))).collect()
    }

    /// An instant.
    pub fn instant(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        Timestamp::parse_iso8601(&text).or_else(|| self.bad(name, "Enter a valid date/time."))
    }

    /// Adds a problem.
    pub fn problem(&mut self, name: &str, message: &str) {
        self.problems.add(name, message);
    }

    /// Refuses the request if a filter was malformed.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with all problems found.
    pub fn finish(&mut self) -> Result<(), ApiError> {
        let problems = std::mem::take(&mut self.problems);
        if problems.is_empty() { Ok(()) } else { Err(ApiError::Invalid(problems)) }
    }

    /// Terms that must occur (CO-525); more than anybody types is refused.
    pub fn search(&mut self) -> String {
        let text = self.text("search").unwrap_or_default();
        if text.len() > LONGEST_SEARCH || search_terms(&text).count() > MOST_TERMS {
            self.problem("search", "Ensure this value has at most 50 terms and 1024 bytes.");
            return String::new();
        }
        text
    }

    /// The order asked for, by the names of `fields`; unknown names are ignored. `otherwise` when nothing is
    /// left. `true` is descending.
    pub fn order<O: Copy>(&self, fields: &[(&str, O)], otherwise: &[(O, bool)]) -> Vec<(O, bool)> {
        let asked = self.text("ordering").unwrap_or_default();
        let mut left: Vec<_> = fields.iter().collect();
        let mut order = Vec::new();
        for name in asked.split(',').map(str::trim) {
            let (name, descending) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
            // What comes a second time orders nothing any more.
            if let Some(at) = left.iter().position(|(field, _)| *field == name) {
                order.push((left.remove(at).1, descending));
            }
        }
        if order.is_empty() { otherwise.to_vec() } else { order }
    }

    /// Which page.
    ///
    /// # Errors
    /// [`ApiError::NoSuchPage`] when the number is none, or less than 1.
    pub fn paging(&self) -> Result<Paging, ApiError> {
        let page = self.text("page").map_or(Ok(1), |page| page.parse::<i64>());
        let page = page.ok().filter(|page| *page >= 1).ok_or(ApiError::NoSuchPage)?;
        let size = self.text("page_size").and_then(|size| size.parse::<i64>().ok()).filter(|size| *size >= 1);
        Ok(Paging { page, size: size.unwrap_or(self.pages.usual).min(self.pages.most).max(1) })
    }

    fn bad<T>(&mut self, name: &str, message: &str) -> Option<T> {
        self.problems.add(name, message);
        None
    }
}

/// Which part of a list was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    page: i64,
    size: i64,
}

impl Paging {
    /// The same, for the store.
    pub fn slice(self) -> Slice {
        Slice { limit: self.size, offset: (self.page - 1).saturating_mul(self.size), ..Slice::ALL }
    }

    /// The answer: `results` are the page's objects, `count` is the length of the whole list (CO-524).
    ///
    /// # Errors
    /// [`ApiError::NoSuchPage`] when the list ends before this page.
    pub fn answer(self, count: i64, results: Vec<Value>) -> Result<Response, ApiError> {
        let total_pages = (count.saturating_add(self.size - 1) / self.size).max(1);
        if self.page > total_pages {
            return Err(ApiError::NoSuchPage);
        }
        let offset = (self.page - 1) * self.size;
        let pagination = json!({
            "next": if self.page < total_pages { self.page + 1 } else { 0 },
            "previous": self.page - 1,
            "count": count,
            "current": self.page,
            "total_pages": total_pages,
            "start_index": if count == 0 { 0 } else { offset + 1 },
            "end_index": (offset + self.size).min(count),
        });
        Ok(Json(Page { pagination, results, autocomplete: Map::new() }).into_response())
    }
}

#[derive(Serialize)]
struct Page {
    pagination: Value,
    results: Vec<Value>,
    autocomplete: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-524: pages are numbered from 1, sizes are capped, nonsense is no page.
    #[test]
    fn co_524_pages_are_read() {
        let paging = |query: &str| Params::of(query).paging().ok();
        assert_eq!(paging(""), Some(Paging { page: 1, size: 20 }));
        assert_eq!(paging("page=3&page_size=500"), Some(Paging { page: 3, size: 100 }));
        assert_eq!(paging("page_size=x"), Some(Paging { page: 1, size: 20 }));
        assert_eq!(paging("page_size=0"), Some(Paging { page: 1, size: 20 }));
        for nonsense in ["page=0", "page=-1", "page=x", "page=99999999999999999999"] {
            assert_eq!(paging(nonsense), None, "{nonsense}");
        }
        assert!(Paging { page: i64::MAX, size: 100 }.answer(5, Vec::new()).is_err());
    }

    /// CO-525: order is by known fields; unknown names are ignored.
    #[test]
    fn co_525_order_is_read() {
        let fields = [("name", 'n'), ("pk", 'p')];
        let order = |query: &str| Params::of(query).order(&fields, &[('d', false)]);
        assert_eq!(order("ordering=-name,pk"), [('n', true), ('p', false)]);
        assert_eq!(order("ordering=password,name"), [('n', false)]);
        assert_eq!(order("ordering=password"), [('d', false)]);
        assert_eq!(order("ordering=pk,-pk,name,pk"), [('p', false), ('n', false)]);
    }

    /// CO-526: booleans have six spellings; others are refused on their parameter.
    #[test]
    fn co_526_filters_are_read() {
        let mut params = Params::of("a=True&b=0&c=maybe&d=&e=1&e=2");
        assert_eq!((params.flag("a"), params.flag("b"), params.flag("d")), (Some(true), Some(false), None));
        assert_eq!(params.integers("e"), [1, 2]);
        assert!(params.finish().is_ok());
        let asked = Params::of("a&b=false&c=true&d=True&d=0&e=");
        assert_eq!(
            ["a", "b", "c", "d", "e", "f"].map(|name| asked.asks(name)),
            [true, false, true, false, true, false]
        );
        assert_eq!(params.flag("c"), None);
        assert!(params.finish().is_err());
        let mut params = Params::of("a=x&b=x&b=y&c=z&d=");
        assert_eq!((params.choice("a", &["x", "y"]).as_deref(), params.choice("d", &["x"])), (Some("x"), None));
        assert_eq!(params.choices("b", &["x", "y"]), ["x", "y"]);
        assert!(params.finish().is_ok());
        assert_eq!(params.choice("c", &["x", "y"]), None);
        assert!(params.finish().is_err());
        assert_eq!(params.choices("b", &["x"]), ["x", "y"]);
        assert!(params.finish().is_err());
    }
}
