//! The names of secrets, and how names are compared: in lower case, by letters and digits only.
//!
//! So `client_secret` and `Client-Secret` both equal `clientsecret`. `accessTokenParams` and `tokenType` are not
//! names of secrets.

/// The names of secrets, in the form in which they are compared. Connection strings use `pwd` for `password`.
pub const SECRET_NAMES: [&str; 19] = [
    "clientsecret",
    "secret",
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "privatekey",
    "clientassertion",
    "assertion",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "apikey",
    "xapikey",
    "consumersecret",
    "tokensecret",
    "sharedsecret",
    "saskey",
    "sharedaccesskey",
];

/// The keys that hold the name in a pair such as `{"key": "client_secret", "value": "..."}`.
pub const PAIR_NAME_KEYS: [&str; 6] = ["name", "key", "id", "field", "param", "paramname"];

/// The keys that hold the value in such a pair.
pub const PAIR_VALUE_KEYS: [&str; 3] = ["value", "val", "paramvalue"];

/// The name of an HTTP header that holds a scheme and a credential.
pub const AUTHORIZATION: &str = "authorization";

/// The length of the longest name in the lists, in bytes.
const LONGEST: usize = 15;

/// What the name of a value says about the value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// The name is not in the lists.
    Other,
    /// The value is a scheme, such as `Basic` or `Bearer`, and a credential.
    Authorization,
    /// The whole value is a secret.
    Secret,
}

impl Named {
    /// Classifies a name: a key, or the name in a pair.
    pub(crate) fn by(key: &str) -> Self {
        match Plain::of(key) {
            Some(plain) if plain.is_one_of(&SECRET_NAMES) => Self::Secret,
            Some(plain) if plain.is_one_of(&[AUTHORIZATION]) => Self::Authorization,
            _ => Self::Other,
        }
    }
}

/// Whether a name equals one of the list.
pub(crate) fn is_one_of(key: &str, names: &[&str]) -> bool {
    Plain::of(key).is_some_and(|plain| plain.is_one_of(names))
}

/// A name in the form in which names are compared.
struct Plain {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Plain {
    /// `None` if the name is longer than every name in the lists or not ASCII, so that it equals none.
    fn of(name: &str) -> Option<Self> {
        let mut plain = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        let letters = name.chars().filter(|c| c.is_alphanumeric());
        for letter in letters.flat_map(char::to_lowercase) {
            let letter = u8::try_from(letter).ok().filter(u8::is_ascii)?;
            *plain.bytes.get_mut(plain.length)? = letter;
            plain.length += 1;
        }
        Some(plain)
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        let plain = &self.bytes[..self.length];
        names.iter().any(|name| name.as_bytes() == plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_their_letters_and_digits() {
        for name in [
            "clientSecret",
            "client_secret",
            "CLIENT-SECRET",
            "private.key",
            "API Key",
            "x-api-key",
            "SharedAccessKey",
            "Pwd",
            "(token)/secret:",
        ] {
            assert!(Named::by(name) == Named::Secret, "{name}");
        }
        for name in [
            "",
            "accessTokenParams",
            "tokenType",
            "secrets",
            "secret\u{e9}",
            "SharedAccessKeyName",
            "client secret of the pack",
        ] {
            assert!(Named::by(name) == Named::Other, "{name}");
        }
        assert!(Named::by("AUTHORIZATION") == Named::Authorization);
    }

    #[test]
    fn every_name_of_the_lists_is_found() {
        for name in SECRET_NAMES {
            assert!(Named::by(name) == Named::Secret, "{name}");
        }
        for name in PAIR_NAME_KEYS.iter().chain(&PAIR_VALUE_KEYS) {
            assert!(is_one_of(name, &[name]), "{name}");
        }
    }
}
