//! The input of a save before validation.

use secrecy::SecretString;

/// The nine fields and the expected revision. They have the right types and are not validated otherwise.
#[derive(Default)]
pub struct SaveInput {
    /// The Integration Pack instance.
    pub integration_pack_instance_id: String,
    /// Whether the access token has been generated.
    pub is_token_generated: bool,
    /// The JSON text of the details.
    pub oauth_connector_details: String,
    /// The process in the Integration Pack.
    pub process_id: String,
    /// The environment of the configuration.
    pub env_id: String,
    /// The connection in the process.
    pub connection_id: String,
    /// The Space.
    pub catalog_guid: String,
    /// The key from the identity provider.
    pub client_id: String,
    /// The secret as the user entered it, or the mask.
    pub client_secret: SecretString,
    /// The revision that the record must have, if the command expects one.
    pub expected_revision: Option<i64>,
}
