//! Whether a password is worth the name: anybody who reaches an edge may try, if slowly.

/// What a password is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// It is one character, however often: it is not taken.
    None,
    /// It would be found soon, for this reason.
    Weak(&'static str),
    /// Nothing speaks against it that can be seen from here.
    Fair,
}

/// Judges the password of the user `aor`.
pub fn strength(aor: &str, password: &str) -> Strength {
    let mut characters = password.chars();
    let first = characters.next();
    if characters.all(|character| Some(character) == first) {
        return Strength::None;
    }
    let small = password.to_lowercase();
    let name = aor.split('@').next().unwrap_or_default().to_lowercase();
    let word = small.trim_end_matches(|character: char| !character.is_alphabetic());
    let count = password.chars().count();
    let has_name = name.len() > 2 && small.contains(&name);
    if has_name && count < name.chars().count() + SHORTEST {
        Strength::Weak("it is made from the user's name")
    } else if COMMON.contains(&word) || COMMON.contains(&small.as_str()) {
        Strength::Weak("it is among those that are tried first")
    } else if count < SHORTEST {
        Strength::Weak("it has fewer than 8 characters")
    } else if count < SHORTEST_NUMBER && password.chars().all(|character| character.is_ascii_digit()) {
        Strength::Weak("it is a number of fewer than 12 digits")
    } else {
        Strength::Fair
    }
}

const SHORTEST: usize = 8;
const SHORTEST_NUMBER: usize = 12;

/// Words that lists of passwords begin with, those of telephony among them; digits and signs behind them change little.
const COMMON: &[&str] = &[
    "abc",
    "admin",
    "administrator",
    "asterisk",
    "changeme",
    "default",
    "dragon",
    "freepbx",
    "guest",
    "iloveyou",
    "letmein",
    "login",
    "master",
    "monkey",
    "pass",
    "passwd",
    "password",
    "passw0rd",
    "phone",
    "qwerty",
    "qwertyuiop",
    "secret",
    "sip",
    "sunshine",
    "telephone",
    "test",
    "user",
    "voip",
    "welcome",
    "abcdefgh",
    "1q2w3e4r",
    "1qaz2wsx",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_found_soon_are_told_apart() {
        let none = ["a", "1", "\u{fc}", "aaaaaaaaaaaa", ""];
        let weak = [
            "ab",
            "p2psip",
            "carol",
            "Carol1",
            "lorac7x",
            "Password",
            "password2026!",
            "Welcome1",
            "1q2w3e4r",
            "12345678901",
        ];
        let fair = [
            "correct horse",
            "xK4-9bQz",
            "carol likes correct horses",
            "135792468013",
        ];
        for password in none {
            assert_eq!(strength("carol@example.org", password), Strength::None, "{password}");
        }
        for password in weak {
            assert!(
                matches!(strength("carol@example.org", password), Strength::Weak(_)),
                "{password}"
            );
        }
        for password in fair {
            assert_eq!(strength("carol@example.org", password), Strength::Fair, "{password}");
        }
    }
}
