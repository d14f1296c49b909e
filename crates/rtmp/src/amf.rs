//! AMF0, the values in commands and metadata.

use bytes::Buf;

use crate::{Error, Limits};

const TOO_SHORT: Error = Error::Malformed("an AMF value is cut off");

/// A value. Has no `Debug`: it may hold a stream key.
pub(crate) enum Value {
    Number(f64),
    String(String),
    /// An object, with or without a class, or an ECMA array.
    Object(Vec<(String, Value)>),
    /// Null, and what has no use here: booleans, strict arrays, dates, references.
    Null,
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// A property of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let Self::Object(properties) = self else { return None };
        properties.iter().find(|(property, _)| property == name).map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// An object of these properties.
pub(crate) fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    Value::Object(properties.map(|(name, value)| (name.to_owned(), value)).into())
}

/// All values of a message.
pub(crate) fn read_all(bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, Error> {
    let mut reader = Reader { bytes, limits, values_left: limits.amf_values };
    let mut values = Vec::new();
    while !reader.bytes.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

struct Reader<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    values_left: usize,
}

impl Reader<'_> {
    /// `depth`: how many objects and arrays it is in.
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        if depth > self.limits.amf_depth {
            let limit = self.limits.amf_depth;
            return Err(Error::TooLarge { what: "AMF objects in one another", limit });
        }
        let Some(values_left) = self.values_left.checked_sub(1) else {
            let limit = self.limits.amf_values;
            return Err(Error::TooLarge { what: "AMF values in a message", limit });
        };
        self.values_left = values_left;
        // Markers: AMF 2.1.
        Ok(match self.bytes.try_get_u8().map_err(|_| TOO_SHORT)? {
            0 => Value::Number(self.bytes.try_get_f64().map_err(|_| TOO_SHORT)?),
            1 => self.skip(1)?,
            2 => Value::String(self.string()?),
            3 => self.properties(depth)?,
            5 | 6 | 13 => Value::Null,
            7 => self.skip(2)?,
            // The count is a hint; the end is marked.
            8 => {
                self.skip(4)?;
                self.properties(depth)?
            }
            10 => self.array(depth)?,
            11 => self.skip(10)?,
            12 | 15 => Value::String(self.long_string()?),
            16 => {
                self.string()?;
                self.properties(depth)?
            }
            _ => return Err(Error::Malformed("an AMF value of an unknown type")),
        })
    }

    fn properties(&mut self, depth: usize) -> Result<Value, Error> {
        let mut properties = Vec::new();
        // Some encoders leave the end marker out at the end of a message.
        while !self.bytes.is_empty() {
            let name = self.string()?;
            if name.is_empty() && self.bytes.first() == Some(&9) {
                self.skip(1)?;
                break;
            }
            properties.push((name, self.value(depth + 1)?));
        }
        Ok(Value::Object(properties))
    }

    fn array(&mut self, depth: usize) -> Result<Value, Error> {
        // Not allocated by the count, and ended by the limit of values.
        for _ in 0..self.bytes.try_get_u32().map_err(|_| TOO_SHORT)? {
            self.value(depth + 1)?;
        }
        Ok(Value::Null)
    }

    fn string(&mut self) -> Result<String, Error> {
        let length = self.bytes.try_get_u16().map_err(|_| TOO_SHORT)?;
        self.text(usize::from(length))
    }

    fn long_string(&mut self) -> Result<String, Error> {
        let length = self.bytes.try_get_u32().map_err(|_| TOO_SHORT)?;
        self.text(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn text(&mut self, length: usize) -> Result<String, Error> {
        if length > self.limits.amf_string {
            let limit = self.limits.amf_string;
            return Err(Error::TooLarge { what: "bytes of an AMF string", limit });
        }
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.bytes = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn skip(&mut self, length: usize) -> Result<Value, Error> {
        self.bytes = self.bytes.get(length..).ok_or(TOO_SHORT)?;
        Ok(Value::Null)
    }
}

/// Appends a value. Strings are ours and short.
pub(crate) fn write(value: &Value, to: &mut Vec<u8>) {
    match value {
        Value::Number(number) => {
            to.push(0);
            to.extend_from_slice(&number.to_be_bytes());
        }
        Value::String(text) => {
            to.push(2);
            write_text(text, to);
        }
        Value::Object(properties) => {
            to.push(3);
            for (name, value) in properties {
                write_text(name, to);
                write(value, to);
            }
            to.extend_from_slice(&[0, 0, 9]);
        }
        Value::Null => to.push(5),
    }
}

fn write_text(text: &str, to: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}
