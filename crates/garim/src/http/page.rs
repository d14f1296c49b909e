//! Long lists come in pages: `?limit=&cursor=`.
//!
//! A cursor is where the next page starts, opaque to clients. It never says whose list it is: that is checked
//! again with every page.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Code, Problem};

/// Items of a page, at most.
const MAX_LIMIT: u32 = 200;
/// Items of a page when nobody says.
const DEFAULT_LIMIT: u32 = 50;
/// Longest cursor, in bytes.
const MAX_CURSOR: usize = 400;

/// Which page.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    #[serde(default, deserialize_with = "from_text")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(max_length = 400)]
    pub cursor: Option<String>,
}

/// Numbers of a flattened query arrive as text.
fn from_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(|_| serde::de::Error::custom("limit is no whole number"))
}

/// One page.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Given as `cursor`, gives the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl PageQuery {
    /// How many items to give.
    pub fn limit(&self) -> Result<u32, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::new(Code::InvalidQuery, format!("limit must lie between 1 and {MAX_LIMIT}")))
    }

    /// The position after which the page starts; `None` for the first one.
    pub fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = Some(cursor).filter(|cursor| cursor.len() <= MAX_CURSOR);
        let bytes = bytes.and_then(|cursor| BASE64_URL_SAFE_NO_PAD.decode(cursor).ok());
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let position = text.filter(|text| !text.contains(char::is_control));
        position.and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| {
            Problem::new(Code::InvalidCursor, "give next_cursor of the page before, unchanged")
        })
    }
}

/// A position as a cursor.
pub fn cursor(position: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(position)
}

impl<T> Page<T> {
    /// Of up to `limit + 1` items: the one too many says that there is another page. `position` is what the
    /// next page starts after.
    pub fn of(mut items: Vec<T>, limit: u32, position: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|last| cursor(&position(last)));
        Self { items, next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_says_where_the_page_before_ended() {
        let page = Page::of(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!(page.items, [1, 2]);
        let query = PageQuery { cursor: page.next_cursor, limit: None };
        assert_eq!(query.after::<i32>().unwrap(), Some(2));
        assert_eq!(Page::of(vec![1, 2], 2, ToString::to_string).next_cursor, None);
        assert_eq!(PageQuery::default().after::<i32>().unwrap(), None);
        for bad in ["", "!", "eA", "AAAA", &"x".repeat(500)] {
            let query = PageQuery { cursor: Some(bad.to_owned()), limit: None };
            assert!(query.after::<i32>().is_err(), "{bad}");
        }
    }
}
