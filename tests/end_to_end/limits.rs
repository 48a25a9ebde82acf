//! How much a document, a bearer and everyone together may have: each limit at its edge.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use nix::sys::signal::Signal;
use serde_json::json;
use tests::{
    api::{Answer, Api, FIND, SECRET, SPACE, key, sample, sample_with},
    eventually,
    load::DEADLINE,
    stack::Stack,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// The gateway's limits on a document.
const DOCUMENT_LIMITS: [(&str, &str); 6] = [
    ("MAX_BODY_BYTES", "4000"),
    ("MAX_DEPTH", "3"),
    ("MAX_COMPLEXITY", "12"),
    ("MAX_ALIASES", "6"),
    ("MAX_DIRECTIVES", "2"),
    ("GATEWAY_DEV", "true"),
];
/// The gateway's limits on the rate of each bearer.
const RATE_LIMITS: [(&str, &str); 4] = [
    ("SAVES_PER_SECOND", "1"),
    ("SAVES_BURST", "5"),
    ("READS_PER_SECOND", "1"),
    ("READS_BURST", "2"),
];

/// So many saves in one document, each under an alias of its own.
fn saves(count: usize) -> String {
    let field = "saveIPackInstanceOauthConnectorDetails(input: $input) { id }";
    let fields: Vec<_> = (0..count).map(|n| format!("s{n}: {field}")).collect();
    let input = "$input: SaveIPackInstanceOauthConnectorDetailsInput!";
    format!("mutation save({input}) {{ {} }}", fields.join(" "))
}

#[tokio::test]
async fn documents_are_accepted_up_to_each_limit() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack.ready_gateway(&DOCUMENT_LIMITS).await?;
    let api = Api::new(&gateway.url, SPACE)?;

    for (name, fits, too_large) in [
        ("aliases", aliases(6), aliases(7)),
        ("directives", directives(2), directives(3)),
        ("saves", saves(5), saves(6)),
        ("complexity", complex(12), complex(13)),
        (
            "depth",
            "{ __schema { queryType { name } } }".to_owned(),
            "{ __schema { queryType { fields { name } } } }".to_owned(),
        ),
    ] {
        let variables = json!({ "input": sample() });
        let answer = api.execute(&fits, variables.clone()).await?;
        assert!(
            answer.body.get("errors").is_none(),
            "{name}: {}",
            answer.body
        );
        let answer = api.execute(&too_large, variables).await?;
        assert_eq!(
            answer.code(),
            "GRAPHQL_VALIDATION_FAILED",
            "{name}: {}",
            answer.body
        );
    }
    assert_eq!(api.post(body(4000)).await?.status, 200);
    let large = api.post(body(4001)).await?;
    assert_eq!(
        (large.status, large.code().as_str()),
        (413, "PAYLOAD_TOO_LARGE")
    );
    let record = api
        .execute(FIND, json!({ "input": key(&sample()) }))
        .await?;
    assert_eq!(
        record.code(),
        "GRAPHQL_VALIDATION_FAILED",
        "it has 13 fields"
    );
    let revision: i64 = sqlx::query_scalar("select revision from connector_details")
        .fetch_one(&stack.database)
        .await?;
    assert_eq!(revision, 5, "of the six saves none was made");
    Ok(())
}

/// A document with so many aliases.
fn aliases(count: usize) -> String {
    let fields: Vec<_> = (0..count).map(|n| format!("a{n}: __typename")).collect();
    format!("{{ {} }}", fields.join(" "))
}

/// A document with so many directives.
fn directives(count: usize) -> String {
    format!("{{ __typename {} }}", "@include(if: true) ".repeat(count))
}

/// A request body of so many bytes.
fn body(length: usize) -> String {
    let empty = json!({ "query": "{ __typename }", "operationName": null, "x": "" });
    let padding = "x".repeat(length - empty.to_string().len());
    json!({ "query": "{ __typename }", "operationName": null, "x": padding }).to_string()
}

/// A document of so many fields.
fn complex(fields: usize) -> String {
    format!(
        "{{ __schema {{ queryType {{ {} }} }} }}",
        "name ".repeat(fields - 2)
    )
}

/// Checks the error of a request that was refused by a rate limit.
fn assert_rate_limited(refused: &Answer) {
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "RATE_LIMITED")
    );
    let extensions = &refused.body["errors"][0]["extensions"];
    let wait = extensions["retryAfterMs"].as_u64().unwrap_or_default();
    assert!((1..=1001).contains(&wait), "{wait}");
    assert_eq!(extensions["retryable"], true);
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test]
async fn a_rate_limited_bearer_gets_a_retry_after_header() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack.ready_gateway(&RATE_LIMITS).await?;
    let anna = Api::for_subject(&gateway.url, SPACE, "anna")?;
    let other_person = Api::for_subject(&gateway.url, SPACE, "ben")?;
    let other_space = Api::for_subject(&gateway.url, "another", "anna")?;
    let input = json!({ "input": sample() });

    // A document with more reads than may come at once can never succeed. Its rejection costs a read.
    let reads = "{ a: saveCommand(id: 1) { id } b: saveCommand(id: 2) { id } c: saveCommand(id: 3) { id } }";
    let too_many = Api::for_subject(&gateway.url, SPACE, "eve")?
        .execute(reads, json!({}))
        .await?;
    assert_eq!(
        (too_many.status, too_many.code().as_str()),
        (200, "GRAPHQL_VALIDATION_FAILED")
    );
    // A document is charged before it is executed; so the sixth finds nothing left.
    let document = saves(5);
    let (five, sixth) = tokio::join!(anna.execute(&document, input), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        anna.save(&sample()).await
    });
    let (five, sixth) = (five?, sixth?);
    let wanted = sample();
    let reads = try_join_all((0..3).map(|_| anna.find(&wanted))).await?;
    let (third, reads): (Vec<_>, Vec<_>) = reads.into_iter().partition(|it| it.status == 429);

    assert!(five.body.get("errors").is_none(), "{}", five.body);
    assert_eq!((reads.len(), third.len()), (2, 1));
    for refused in [&sixth, &third[0]] {
        assert_rate_limited(refused);
    }
    assert!(
        reads.iter().all(|answer| answer.record().is_ok()),
        "{reads:?}"
    );
    assert!(other_person.save(&sample()).await?.record().is_ok());
    assert!(
        other_space
            .find(&sample_with("catalogGuid", "another"))
            .await?
            .record()
            .is_ok()
    );
    // A save that was refused was never sent.
    let count: i64 = sqlx::query_scalar("select count(*) from connector_details_ledger")
        .fetch_one(&stack.database)
        .await?;
    assert_eq!(count, 6);
    eventually("the second to be over", async || {
        Ok(anna.save(&sample()).await?.record().ok())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn requests_over_the_global_limit_are_refused_at_once() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack.ready_gateway(&[("MAX_IN_FLIGHT", "2")]).await?;
    let api = Api::new(&gateway.url, SPACE)?;
    api.save(&sample()).await?.record()?;
    stack.workers[0].signal(Signal::SIGSTOP)?;

    let answers = join_all((0..6).map(|_| async {
        let started = Instant::now();
        let answer = api.save(&sample()).await?;
        anyhow::Ok((answer, started.elapsed()))
    }))
    .await;
    stack.workers[0].signal(Signal::SIGCONT)?;

    let answers: Vec<_> = answers.into_iter().collect::<anyhow::Result<_>>()?;
    let (refused, waited): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(answer, _)| answer.status == 503);
    assert_eq!((refused.len(), waited.len()), (4, 2));
    for (answer, took) in refused {
        assert_eq!(answer.code(), "SERVICE_UNAVAILABLE");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    eventually("saves to be taken again", async || {
        Ok(api.save(&sample()).await?.record().ok())
    })
    .await?;
    Ok(())
}

/// The mutations of a document are executed one after another. Without a worker, each waits for its reply.
#[tokio::test]
async fn a_document_of_several_saves_is_answered_in_time_while_the_gateway_stops()
-> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let api = Api::new(&gateway.url, SPACE)?;
    let started = Instant::now();

    let (document, input) = (saves(5), json!({ "input": sample() }));
    let answered = async {
        let answer = api.execute(&document, input).await;
        (answer, started.elapsed())
    };
    let ((answer, took), stopped) = tokio::join!(answered, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        gateway.stop().await
    });
    let answer = answer?;

    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(stopped?, "its exit status is not success");
    let errors = answer.body["errors"].as_array().cloned();
    let errors = errors.unwrap_or_default();
    assert_eq!(errors.len(), 5, "{}", answer.body);
    for (index, error) in errors.iter().enumerate() {
        let (extensions, message) = (&error["extensions"], error["message"].to_string());
        assert_eq!(error["path"], json!([format!("s{index}")]));
        assert_eq!(extensions["retryable"], true);
        // The first two use up the time of the request.
        let (code, says) = match index {
            0 | 1 => ("SAVE_PENDING", "was accepted and is not decided yet"),
            _ => ("SERVICE_UNAVAILABLE", "It changed nothing"),
        };
        assert_eq!(extensions["code"], code, "{message}");
        assert!(message.contains(says), "{message}");
        assert_eq!(extensions["commandId"].is_string(), index < 2, "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_body_that_never_ends_times_out() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let token = gateway::auth::dev_token::sign(SECRET, SPACE, "slow", Duration::from_mins(5))?;
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         space_guid: {SPACE}\r\nauthorization: Bearer {token}\r\ncontent-length: 1000\r\n\r\n{{"
    );
    let mut stream = TcpStream::connect(gateway.url.replace("http://", "")).await?;
    stream.write_all(head.as_bytes()).await?;

    let mut answer = [0; 12];
    timeout(DEADLINE, stream.read_exact(&mut answer)).await??;

    assert_eq!(&answer, b"HTTP/1.1 400");
    Ok(())
}
