//! Unit tests of when the keys are read again.

use std::pin::pin;

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::*;

const HOUR: Duration = Duration::from_hours(1);
/// A set with a public key of RFC 8037.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("{}.jwks", Uuid::new_v4()))
}

async fn keys(path: &Path) -> Arc<Keys> {
    let fetching = Fetching {
        pause: HOUR,
        max_age: 24 * HOUR,
    };
    Keys::new(KeySource::File(path.to_owned()), fetching).await
}

#[tokio::test]
async fn the_pause_limits_only_reads_that_an_unknown_key_id_causes() -> anyhow::Result<()> {
    let path = path();
    let keys = keys(&path).await;
    assert!(!keys.is_ready());
    assert_eq!(keys.refresh_interval(), RETRY_INTERVAL);
    assert_eq!(keys.request_pause(), RETRY_INTERVAL);

    std::fs::write(&path, JWKS)?;
    keys.refresh(Duration::ZERO).await;

    assert!(keys.is_ready());
    assert_eq!(keys.request_pause(), HOUR);
    let version = keys.version();
    let unknown = keys.find(Some("unknown")).await;
    assert!(unknown.is_ok_and(|key| key.is_none()));
    assert_eq!(keys.version(), version, "read within the pause");
    std::fs::remove_file(path)?;
    Ok(())
}

#[tokio::test]
async fn a_call_that_waited_for_a_read_causes_no_other_read() -> anyhow::Result<()> {
    let path = path();
    std::fs::write(&path, JWKS)?;
    let keys = keys(&path).await;
    let version = keys.version();

    let mut last_read = keys.last_read.lock().await;
    let mut waiting = pin!(keys.refresh(Duration::ZERO));
    assert!(waiting.as_mut().now_or_never().is_none());
    *last_read = Some(Instant::now());
    drop(last_read);
    waiting.await;

    assert_eq!(keys.version(), version);
    std::fs::remove_file(path)?;
    Ok(())
}

#[tokio::test]
async fn a_read_goes_on_when_the_request_that_caused_it_is_dropped() -> anyhow::Result<()> {
    let path = path();
    let keys = keys(&path).await;
    std::fs::write(&path, JWKS)?;

    let dropped = keys.refresh(Duration::ZERO).now_or_never();
    assert!(dropped.is_none());
    assert!(!keys.is_ready());

    // The lock is held until the end of the read.
    drop(keys.last_read.lock().await);
    assert!(keys.is_ready());
    std::fs::remove_file(path)?;
    Ok(())
}
