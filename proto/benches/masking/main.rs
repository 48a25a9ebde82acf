//! The time of masking, by the length of the details, for the published sample and for the slowest known
//! inputs.
//!
//! `cargo bench --bench masking`. In each group the input grows by a factor of four. The time may grow by the same
//! factor, not by more.

mod worst;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use proto::{ClientSecret, OauthConnectorDetails, details::MAX_BYTES};
use worst::Case;

/// The sample of the published API.
const SAMPLE: &str = r#"{"baseURL":"https://baseURL.com","companyId":"9341452451293689","clientId":"A","authParams":{"key":"value"},"accessTokenParams":{"key":"value"}}"#;

fn mask(text: &str, secret: &ClientSecret) {
    // The masked details may be too long and give an error. The time is the same.
    let _ = black_box(OauthConnectorDetails::new(black_box(text), secret, None));
}

fn secret(case: &Case) -> ClientSecret {
    ClientSecret::new(case.secret.as_str()).unwrap_or_default()
}

/// The names of the slowest cases at the largest size, by the best of three runs each.
fn slowest() -> Vec<&'static str> {
    let mut times: Vec<(Duration, &str)> = worst::cases(MAX_BYTES)
        .iter()
        .map(|case| {
            let secret = secret(case);
            let timed = || {
                let start = Instant::now();
                mask(&case.text, &secret);
                start.elapsed()
            };
            let best = [timed(), timed(), timed()].into_iter().min();
            (best.unwrap_or_default(), case.name)
        })
        .collect();
    times.sort_unstable();
    times.reverse();
    let mut names = Vec::new();
    for (_, name) in times {
        if names.len() < 6 && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn masking(criterion: &mut Criterion) {
    let unrelated_secret = ClientSecret::default();
    criterion.bench_function("the published sample", |bencher| {
        bencher.iter(|| mask(SAMPLE, &unrelated_secret));
    });
    for name in slowest() {
        let mut group = criterion.benchmark_group(name);
        for kib in [1, 4, 16, 64] {
            let cases = worst::cases(kib * 1024);
            let Some(case) = cases.iter().find(|case| case.name == name) else {
                continue;
            };
            let secret = secret(case);
            group.throughput(Throughput::Bytes(case.text.len() as u64));
            group.bench_with_input(
                BenchmarkId::from_parameter(kib),
                &case.text,
                |bencher, text| {
                    bencher.iter(|| mask(text, &secret));
                },
            );
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = masking
}
criterion_main!(benches);
