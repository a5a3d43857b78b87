//! Lists in a configuration: an array in a file, one text with commas in the environment.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

/// Writes a list as an array of texts.
///
/// # Errors
/// When the serializer fails.
pub fn serialize<T: Display, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.serialize(serializer)
}

/// Reads an array of texts, or one text whose entries are parted by commas.
///
/// # Errors
/// When an entry is not understood; the message holds it.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let texts = deserializer.deserialize_any(Texts)?;
    texts
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| D::Error::custom(format!("\"{text}\": {error}")))
        })
        .collect()
}

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list, or a text with commas")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(entries.map(str::to_owned).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde::{Deserialize, Serialize};

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Settings {
        #[serde(with = "super")]
        bind: Vec<SocketAddr>,
    }

    #[test]
    fn an_array_and_a_text_mean_the_same() {
        let array = "bind = [\"127.0.0.1:1\", \"[::1]:2\"]";
        let text = "bind = \"127.0.0.1:1, [::1]:2\"";
        let read = |toml: &str| toml::from_str::<Settings>(toml).unwrap().bind;
        assert_eq!(read(array), read(text));
        assert_eq!(read(array).len(), 2);
        assert!(read("bind = \"\"").is_empty());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = toml::from_str::<Settings>("bind = [\"here\"]").unwrap_err().to_string();
        assert!(error.contains("here"), "{error}");
    }
}
