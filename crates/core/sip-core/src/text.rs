//! Character classes and small scanners of the SIP grammar (RFC 3261 §25.1), shared by all readers.

/// Says whether a byte may stand in a `token`.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

/// Says whether a text is a `token`.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// Says whether a byte is a space or a tab.
pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Removes blanks at both ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_ascii()
}

/// Finds the first `wanted` sign outside quoted strings and angle brackets.
pub(crate) fn find_outside(text: &str, wanted: u8) -> Option<usize> {
    // Most values hold neither; the standard library finds single signs many octets at a time.
    let first = text.find(char::from(wanted))?;
    let before = text.get(..first)?;
    if !before.contains('"') && !before.contains('<') {
        return Some(first);
    }
    let (mut is_quoted, mut is_escaped, mut is_angled) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if is_escaped {
            is_escaped = false;
        } else if is_quoted {
            is_escaped = byte == b'\\';
            is_quoted = byte != b'"';
        } else if is_angled {
            is_angled = byte != b'>';
        } else if byte == wanted {
            return Some(at);
        } else {
            is_quoted = byte == b'"';
            is_angled = byte == b'<';
        }
    }
    None
}

/// Splits a list at commas outside quoted strings and angle brackets; empty elements are yielded too.
#[derive(Clone, Debug)]
pub(crate) struct Commas<'a> {
    rest: Option<&'a str>,
}

impl<'a> Commas<'a> {
    pub(crate) fn new(list: &'a str) -> Self {
        Self { rest: Some(list) }
    }
}

impl<'a> Iterator for Commas<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (value, rest) = match find_outside(rest, b',').and_then(|at| rest.split_at_checked(at)) {
            Some((value, rest)) => (value, rest.get(1..)),
            None => (rest, None),
        };
        self.rest = rest;
        Some(trim(value))
    }
}

/// Takes the quotes and backslashes off a quoted string; another text is returned as it is.
pub fn unquote(text: &str) -> std::borrow::Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.into();
    };
    if !inner.contains('\\') {
        return inner.into();
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' {
            characters.next().unwrap_or('\\')
        } else {
            character
        });
    }
    plain.into()
}

/// Decodes `%HH`; `None` for an incomplete escape or a result that is not UTF-8.
pub(crate) fn unescape(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            hex(bytes.next()?)? << 4 | hex(bytes.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(plain).ok().map(Into::into)
}

/// Reads one hexadecimal digit.
pub(crate) const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// Reads a number of nothing but digits.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits { text.parse().ok() } else { None }
}
