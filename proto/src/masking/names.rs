//! The names that say what a value is, and how names are compared: lower-cased, letters and digits
//! only. So `client_secret` and `Client-Secret` are `clientsecret`; `accessTokenParams` and
//! `tokenType` are no secret's name.

/// Names of secrets, as they are compared. `pwd` is the short form of `password` in connection
/// strings.
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

/// Names of the first half of a pair such as `{"key": "client_secret", "value": "..."}`.
pub const PAIR_NAME_KEYS: [&str; 6] = ["name", "key", "id", "field", "param", "paramname"];

/// Names of the second half of such a pair.
pub const PAIR_VALUE_KEYS: [&str; 3] = ["value", "val", "paramvalue"];

/// The name of an HTTP header that holds a scheme and a credential.
pub const AUTHORIZATION: &str = "authorization";

/// No name of the lists is longer, in bytes.
const LONGEST: usize = 15;

/// What a key says of its value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// Nothing.
    Other,
    /// `Basic` or `Bearer`, and a credential.
    Authorization,
    /// A secret, all of it.
    Secret,
}

impl Named {
    /// What a key says of its value, or the first half of a pair of the second half.
    pub(crate) fn by(key: &str) -> Self {
        match Plain::of(key) {
            Some(plain) if plain.is_one_of(&SECRET_NAMES) => Self::Secret,
            Some(plain) if plain.is_one_of(&[AUTHORIZATION]) => Self::Authorization,
            _ => Self::Other,
        }
    }
}

/// Whether a name is exactly one of a list, as names are compared.
pub(crate) fn is_one_of(key: &str, names: &[&str]) -> bool {
    Plain::of(key).is_some_and(|plain| plain.is_one_of(names))
}

/// A name as it is compared. One that is longer than every name of the lists, or not ASCII, is none
/// of them.
struct Plain {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Plain {
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
