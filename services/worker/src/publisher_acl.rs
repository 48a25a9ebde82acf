//! Which broker user may write to which Spaces.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
};

use proto::CatalogGuid;

/// In a list of Spaces: every Space.
const EVERY_SPACE: &str = "*";

/// The publishers with the Spaces that they may write to. If it is `None`, only the broker's permissions
/// apply: every user that may publish to the exchange may write to every Space.
#[derive(Debug, Clone, Default)]
pub struct PublisherAcl(Option<HashMap<String, HashSet<String>>>);

impl PublisherAcl {
    /// Whether a publisher may write to a Space. The broker has checked the `user_id` against the
    /// connection's user. A message without a `user_id` may come from anyone, so it is not allowed.
    #[must_use]
    pub fn allow(&self, user_id: Option<&str>, space: &CatalogGuid) -> bool {
        let Some(publishers) = &self.0 else {
            return true;
        };
        user_id
            .and_then(|user| publishers.get(user))
            .is_some_and(|spaces| spaces.contains(EVERY_SPACE) || spaces.contains(space.as_str()))
    }

    /// Whether a publisher may name another author than itself. Only publishers that may write to every
    /// Space are trusted with that: the gateway is one, because it checks the token of each person.
    #[must_use]
    pub fn may_name_authors(&self, user_id: Option<&str>) -> bool {
        let Some(publishers) = &self.0 else {
            return true;
        };
        user_id
            .and_then(|user| publishers.get(user))
            .is_some_and(|spaces| spaces.contains(EVERY_SPACE))
    }
}

impl FromStr for PublisherAcl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map(|publishers| Self(Some(publishers)))
            .map_err(|_| {
                r#"must be JSON such as {"gateway": ["*"], "billing": ["a Space's guid"]}"#
                    .to_owned()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_writes_to_its_own_spaces_only() -> Result<(), Box<dyn std::error::Error>> {
        let space = CatalogGuid::new("a").map_err(|error| error.message)?;
        let publishers: PublisherAcl =
            r#"{"gateway": ["*"], "one": ["a"], "two": ["b"]}"#.parse()?;

        assert!(publishers.allow(Some("gateway"), &space));
        assert!(publishers.allow(Some("one"), &space));
        assert!(!publishers.allow(Some("two"), &space));
        assert!(!publishers.allow(Some("three"), &space));
        assert!(!publishers.allow(None, &space));
        assert!(PublisherAcl::default().allow(None, &space));
        assert!(publishers.may_name_authors(Some("gateway")));
        assert!(!publishers.may_name_authors(Some("one")));
        assert!(PublisherAcl::default().may_name_authors(None));
        Ok(())
    }
}
