//! What is measured and needs the machine for itself, so that no other test runs beside it:
//! `cargo dev test --test end_to_end -- --ignored measured`.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tests::{
    api::{Api, SPACE, sample, sample_with},
    stack::Stack,
};
use tokio::task::JoinHandle;

/// How long a bearer waits who saves now and then.
async fn calm(api: &Api, took: &mut Vec<Duration>) -> anyhow::Result<()> {
    for _ in 0..100 {
        let started = Instant::now();
        api.save(&sample()).await?.record()?;
        took.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Sixty-four connections that ask again as soon as they are answered.
struct Flood(Vec<JoinHandle<()>>);

impl Flood {
    fn start(api: &Api) -> Self {
        let ask = |n| {
            let (api, input) = (api.clone(), sample_with("processId", format!("greedy {n}")));
            async move {
                loop {
                    let _ = api.save(&input).await;
                }
            }
        };
        Self((0..64).map(|n| tokio::spawn(ask(n))).collect())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// A ratio within one run: somebody calm, with and without somebody greedy beside, in turn.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and wants the machine for itself"]
async fn one_bearer_at_full_speed_does_not_slow_another() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let usual = [("SAVES_PER_SECOND", "20"), ("SAVES_BURST", "100")];
    let gateway = stack.gate(&usual).await?;
    // One after the other, or the second run would be refused for the first.
    let calm_ones = (0..).map(|n| Api::of(&gateway.url, SPACE, &format!("calm {n}")));
    let mut calm_ones = calm_ones.take(13);
    let mut next = || calm_ones.next().context("nobody is left")?;
    let greedy = Api::of(&gateway.url, SPACE, "greedy")?;
    calm(&next()?, &mut Vec::new()).await?;

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        calm(&next()?, &mut alone).await?;
        let _flood = Flood::start(&greedy);
        // What is allowed to come at once is not what is measured.
        tokio::time::sleep(Duration::from_secs(1)).await;
        calm(&next()?, &mut beside).await?;
    }

    let refused = greedy.save(&sample()).await?;
    assert_eq!(refused.status, 429, "the greedy one was not greedy enough");
    let p99 = |took: &mut Vec<Duration>| {
        took.sort();
        took[took.len() * 99 / 100]
    };
    let (alone, beside) = (p99(&mut alone), p99(&mut beside));
    eprintln!("p99 of the calm one: {alone:?}, beside the greedy one {beside:?}");
    assert!(beside < alone * 3 / 2, "{beside:?} instead of {alone:?}");
    Ok(())
}
