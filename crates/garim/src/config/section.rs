//! A part of the settings, out of which values are taken one by one.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::{Table, Value};
use url::Url;

/// What is left of a table, and everything that was wrong so far.
pub struct Section {
    /// `limits.`, or nothing.
    prefix: String,
    left: Table,
    wrong: Vec<String>,
}

impl Section {
    /// The whole file.
    pub fn root(table: Table) -> Self {
        Self { prefix: String::new(), left: table, wrong: Vec::new() }
    }

    /// What `read` makes of the table `name`, or of an empty one.
    pub fn section<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let left = match self.left.remove(name) {
            Some(Value::Table(table)) => table,
            None => Table::new(),
            Some(_) => {
                self.wrong(format!("{name}: must be a table"));
                Table::new()
            }
        };
        let prefix = format!("{}{name}.", self.prefix);
        let mut inner = Self { prefix, left, wrong: Vec::new() };
        let result = read(&mut inner);
        self.wrong.extend(inner.finish());
        result
    }

    /// Notes that something is wrong; `what` starts with the key, unless it is about the whole section.
    pub fn wrong(&mut self, what: impl Into<String>) {
        let what = what.into();
        // "limits.burst: ..." but "tls: needs both ...".
        let about_key = what.split_once(": ").is_some_and(|(key, _)| !key.contains(' '));
        let prefix = if about_key || self.prefix.is_empty() {
            self.prefix.clone()
        } else {
            format!("{}: ", self.prefix.trim_end_matches('.'))
        };
        self.wrong.push(format!("{prefix}{what}"));
    }

    /// Everything that was wrong; also what was not taken out.
    pub fn finish(mut self) -> Vec<String> {
        for key in std::mem::take(&mut self.left).keys() {
            self.wrong(format!("{key}: there is no such setting"));
        }
        self.wrong
    }

    /// A value, unchecked.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.left.remove(key)
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) if !text.trim().is_empty() => Some(text),
            other => {
                self.wrong(format!("{key}: {other} must be a text"));
                None
            }
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let texts = value.as_array().and_then(|list| {
            list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.unwrap_or_else(|| {
            self.wrong(format!("{key}: {value} must be a list of texts"));
            Vec::new()
        })
    }

    /// A text that means something; `what` says what it should be.
    pub fn parsed<T: FromStr>(&mut self, key: &str, what: &str) -> Option<T> {
        let text = self.text(key)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(format!("{key}: {text:?} must be {what}"));
        }
        parsed
    }

    /// One of a few texts.
    pub fn choice<const N: usize>(
        &mut self,
        key: &str,
        choices: [&'static str; N],
    ) -> Option<&'static str> {
        let text = self.text(key)?;
        let found = choices.into_iter().find(|choice| *choice == text);
        if found.is_none() {
            self.wrong(format!("{key}: {text:?} must be one of {}", choices.join(", ")));
        }
        found
    }

    /// A path; a relative one is relative to where the process was started.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// An http or https URL.
    pub fn url(&mut self, key: &str) -> Option<Url> {
        let url: Url = self.parsed(key, "a URL")?;
        if matches!(url.scheme(), "http" | "https") && url.has_host() {
            return Some(url);
        }
        self.wrong(format!("{key}: must start with http:// or https://"));
        None
    }

    /// true or false.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.take(key) {
            None => default,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.wrong(format!("{key}: {other} must be true or false"));
                default
            }
        }
    }

    /// A whole number in a range.
    pub fn number(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let Some(value) = self.take(key) else { return default };
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| range.contains(number)).unwrap_or_else(|| {
            let (from, to) = (range.start(), range.end());
            self.wrong(format!("{key}: {value} must be a whole number from {from} to {to}"));
            default
        })
    }

    /// A time in whole seconds.
    pub fn seconds(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> Duration {
        Duration::from_secs(self.number(key, range, default).into())
    }
}
